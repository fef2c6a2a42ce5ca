// Node's flags for every service process. V8 sizes its heap by the machine, not by the work: on 24 GB it lets garbage
// grow to three times what is alive before it collects. With these a service stays below 220 MB at full load (measured by
// `npm run bench`; alive are some 40 MB). package.json and the Dockerfile repeat them, which a test compares.
// They also set NODE_COMPILE_CACHE: compiled code is kept in a folder, so that a start takes half the CPU and 20 MB less.

/** Young generation in MB, and the old one's limit in MB: four times what a service has alive at its busiest. */
export const serviceFlags: readonly string[] = ['--max-semi-space-size=8', '--max-old-space-size=160'];
