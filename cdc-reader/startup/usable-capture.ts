// Before a fingerprint is recorded as the one to compare with: does it meet the requirements of preflight? The comparisons
// that follow find a change, not a baseline that was wrong from the beginning. Guarantees: publication and tables were fit
// to feed the reader at the moment of this very fingerprint (I1). When to record one is left to the callers.
import { type CaptureFingerprint, compareCapture } from '#schemas/capture-fingerprint.ts';
import type { SourceSession } from '../postgres/source-session.ts';
import { CaptureUnsteadyError, PreflightError } from '../supervise/restart-errors.ts';
import { findPreflightProblems } from './preflight.ts';

/** The facts are younger than `fingerprint`, and its equal after them shows that they were true of it. */
export async function requireUsableCapture(
  names: { readonly slotName: string; readonly publicationName: string; readonly applicationName: string },
  source: Pick<SourceSession, 'preflightFacts'>,
  fingerprint: CaptureFingerprint,
): Promise<void> {
  const facts = await source.preflightFacts(names);
  const problems = findPreflightProblems(facts, names);
  if (problems.length > 0) throw new PreflightError(problems);
  if (compareCapture(fingerprint, facts.capture.fingerprint).differences.length > 0) throw new CaptureUnsteadyError();
}
