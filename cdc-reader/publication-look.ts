// The look at the publication that everything which moves forward waits for. A publication that was dropped, recreated or
// altered loses rows without an error: a look that began after a transaction had come, and finds the fingerprint of the
// checkpoint, proves that nothing before it is missing (I11). When to look is the publisher's and the acknowledger's.
import type { Lsn } from '#schemas/lsn.ts';
import { PublicationChangedError } from './errors.ts';

/** `throughLsn`: what is published, for the error to tell. @throws PublicationChangedError, or what Postgres said */
export type PublicationLook = (throughLsn: Lsn) => Promise<void>;

export function createPublicationLook(options: {
  readFingerprint: () => Promise<string | null>;
  /** Where the server's WAL ends; asked only for what a halt has to tell. */
  readFlushLsn: () => Promise<Lsn>;
  publicationName: string;
  expectedFingerprint: string;
}): PublicationLook {
  const { readFingerprint, readFlushLsn, publicationName, expectedFingerprint } = options;
  return async (throughLsn) => {
    const found = await readFingerprint();
    if (found === expectedFingerprint) return;
    throw new PublicationChangedError(publicationName, throughLsn, await readFlushLsn(), found, expectedFingerprint);
  };
}
