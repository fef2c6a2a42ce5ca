// How often a property is tried: all its runs in `npm test` (which sets THOROUGH), a quarter in `npm run check`, which must be quick.
import process from 'node:process';

export const thorough = (runs: number): number => (process.env.THOROUGH === undefined ? Math.ceil(runs / 4) : runs);
