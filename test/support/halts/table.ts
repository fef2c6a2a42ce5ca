// The table over all halts of reader, sink and tools, one row a code: each is gone through in a real test, from the fault by
// the commands of the halt's own message to a clean audit, or another test goes that way. That no code is missing:
// test/unit/test/support/halts/table.test.ts.
import { readerHalts } from './reader-halts.ts';
import type { CoveredHalt, HaltCase } from './row.ts';
import { rowHalts } from './row-halts.ts';
import { serverHalts } from './server-halts.ts';
import { sinkHalts } from './sink-halts.ts';

export const haltCases: readonly HaltCase[] = [...readerHalts, ...rowHalts, ...serverHalts, ...sinkHalts];

export const coveredHalts: readonly CoveredHalt[] = [
  {
    code: 'OFFSET_WENT_BACK',
    file: 'test/fault/kafka/topic-ids.test.ts',
    test: 'halts where the id is not known: the orders before its offset are others',
  },
  {
    code: 'SOURCE_CHANGED',
    file: 'test/fault/disaster/cluster.test.ts',
    test: 'go on in a new topic once the sinks have drained the old one',
  },
];
