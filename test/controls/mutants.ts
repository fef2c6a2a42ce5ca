// The program broken on purpose, one way at a time, each the kind of mistake that other systems have shipped or that a
// change here could bring. A mutant names the test files that must go red: the fast ones where they can see it, real
// servers only where nothing else can. `find` must occur exactly once in its file (test/unit/test/controls/mutants.test.ts), so that
// a mutant which no longer applies is noticed, and mended together with the code that it breaks.

import { captureMutants } from './capture-mutants.ts';
import { httpMutants } from './http-mutants.ts';

export interface Mutant {
  readonly name: string;
  /** What it breaks, in the words of the fault matrix (class J) or our own. */
  readonly breaks: string;
  readonly file: string;
  readonly find: string;
  readonly replace: string;
  readonly tests: readonly string[];
  /** Of slow test files, only the tests whose names match this. */
  readonly testName?: string;
}

const reader: readonly Mutant[] = [
  {
    name: 'acknowledge-before-publish',
    breaks: 'I7: Postgres is told "flushed" while the commit is under way',
    file: 'cdc-reader/pipeline/publish.ts',
    find: '      await publisher.publishGroup(group);\n',
    replace: '      await acknowledger.published(group.throughLsn);\n      await publisher.publishGroup(group);\n',
    tests: ['test/unit/cdc-reader/pipeline/pipeline.test.ts'],
  },
  {
    name: 'idle-acknowledged-without-checkpoint',
    breaks: 'I7: idle progress is acknowledged although no checkpoint holds it',
    file: 'cdc-reader/pipeline/publish.ts',
    find: '    await publisher.publishProgress(idleLsn);\n',
    replace: '',
    tests: ['test/unit/cdc-reader/pipeline/pipeline.test.ts'],
  },
  {
    name: 'keepalive-inside-a-transaction',
    breaks: 'I1: a walEnd that comes amid a transaction passes for progress',
    file: 'cdc-reader/pipeline/intake.ts',
    find: 'this.#options.queue.isIdle && !this.#assembler.isInTransaction',
    replace: 'this.#options.queue.isIdle',
    tests: ['test/unit/cdc-reader/pipeline/pipeline.test.ts'],
  },
  {
    name: 'acknowledge-one-more',
    breaks: "I1: the library's +1 reaches the wire; an adjacent commit is lost",
    file: 'cdc-reader/postgres/standby-status.ts',
    find: 'formatLsn((throughLsn - 1n) as Lsn)',
    replace: 'formatLsn(throughLsn)',
    tests: ['test/unit/cdc-reader/postgres/standby-status.test.ts', 'test/property/pgoutput-status.test.ts'],
  },
  {
    name: 'run-taken-one-too-far',
    breaks: 'I4: an interrupted first start publishes an order of an earlier attempt again',
    file: 'cdc-reader/startup/first-start/published-orders.ts',
    find: 'if (comparePlaces(place, through) > 0) return;',
    replace: 'if (comparePlaces(place, through) >= 0) return;',
    tests: ['test/unit/cdc-reader/startup/first-start/published-orders.test.ts'],
  },
  {
    name: 'attempts-taken-for-one-run',
    breaks: 'I4: the runs of two attempts are merged as one, so that the second is not found',
    file: 'cdc-reader/startup/first-start/published-orders.ts',
    find: 'comparePositions({ ...found.event, ordinal: 0 }, position) > 0',
    replace: 'comparePositions({ ...found.event, ordinal: 0 }, position) > 1',
    tests: ['test/unit/cdc-reader/startup/first-start/published-orders.test.ts'],
  },
  {
    name: 'unfinished-slot-left',
    breaks: 'I8: the slot that a killed reader was making holds up every later start while a transaction is open',
    file: 'cdc-reader/startup/initial-snapshot.ts',
    find: '  await source.endUnfinishedSlot(config.slotName);\n',
    replace: '',
    tests: ['test/fault/reader/slot-waits.test.ts'],
    testName: 'names the transaction that its slot waits for',
  },
  {
    name: 'foreign-slot-taken',
    breaks: "I8: another database's slot is a failure for ever instead of a halt with a remedy",
    file: 'cdc-reader/startup/start-up.ts',
    find: "slot.plugin === 'pgoutput' && slot.database === orderDatabase.database",
    replace: "slot.plugin === 'pgoutput'",
    tests: ['test/unit/cdc-reader/startup/start-up.test.ts'],
  },
  {
    name: 'standby-behind-nobody',
    breaks: 'I8: a reader stands by, and reports itself healthy, although nobody publishes',
    file: 'cdc-reader/startup/start-up.ts',
    find: 'if (holder?.active !== true || holder.confirmedFlushLsn === null) {',
    replace: 'if (holder === null || holder.confirmedFlushLsn === null) {',
    tests: ['test/unit/cdc-reader/startup/start-up.test.ts'],
  },
  {
    name: 'unreadable-batch-passed-at-the-end',
    breaks: 'I11: the newest record of a partition is one before a batch that can not be read',
    file: 'kafka/reading/newest-record.ts',
    find: 'isBatchError(error) ? findBehind(error, fromOffset, untilOffset, readWindow) : Promise.reject(error),',
    replace: 'isBatchError(error) ? undefined : Promise.reject(error),',
    tests: ['test/unit/kafka/reading/newest-record.test.ts'],
  },
  {
    name: 'errors-heard-once-connected',
    breaks: 'I8: a server that shuts down within the handshake ends the process, as with the library’s own connecting',
    file: 'cdc-reader/postgres/raw-replication.ts',
    find: "    client.on('error', (error) => service.emit('error', error));\n    library._client = client;\n    await client.connect();\n",
    replace:
      "    library._client = client;\n    await client.connect();\n    client.on('error', (error) => service.emit('error', error));\n",
    tests: ['test/integration/cdc-reader/replication-stream.test.ts'],
    testName: 'with the first words of a server that shuts down',
  },
  {
    name: 'drop-rule-inclusive',
    breaks: 'I1: a transaction that commits right at throughLsn is taken for published',
    file: 'schemas/checkpoint.ts',
    find: 'if (commitLsn < checkpoint.throughLsn) return',
    replace: 'if (commitLsn <= checkpoint.throughLsn) return',
    tests: ['test/unit/schemas/checkpoint.test.ts'],
  },
  {
    name: 'slot-ahead-unnoticed',
    breaks: 'I11: a slot that was advanced by hand goes unnoticed',
    file: 'schemas/checkpoint.ts',
    find: 'return confirmedFlushLsn > checkpoint.throughLsn;',
    replace: 'return confirmedFlushLsn < 0n;',
    tests: ['test/unit/schemas/checkpoint.test.ts'],
  },
  {
    name: 'drop-verifier-off',
    breaks: 'I11: a file-level restore with other transactions at the same places goes unnoticed',
    file: 'cdc-reader/startup/continuity.ts',
    find: "if (hash.digest('hex') !== last.ordersHash) {",
    replace: "if (hash.digest('hex') === '') {",
    tests: ['test/unit/cdc-reader/startup/continuity.test.ts'],
  },
  {
    name: 'drop-verifier-not-asked',
    breaks: 'I11: dropped transactions are not looked into at all',
    file: 'cdc-reader/pipeline/intake.ts',
    find: 'if (orderCount > 0)',
    replace: 'if (orderCount < 0)',
    tests: ['test/fault/source/restores.test.ts'],
    testName: 'a client has placed the last published order in it again',
  },
  {
    name: 'tail-check-skipped',
    breaks: 'I11: a live topic that was recreated or truncated goes unnoticed',
    file: 'cdc-reader/startup/continuity.ts',
    find: 'if (facts.live !== null) checkLiveTopic(',
    replace: 'if (facts.live === undefined) checkLiveTopic(',
    tests: ['test/unit/cdc-reader/startup/continuity.test.ts'],
  },
  {
    name: 'lost-end-of-one-partition',
    breaks: 'I11: the end of the last transaction is lost in one partition, and the newest event in another hides it',
    file: 'cdc-reader/startup/continuity.ts',
    find: 'return endOffsets[partition] ?? nextOffsets[partition] ?? 0n;',
    replace: 'return (endOffsets, nextOffsets[partition] ?? 0n);',
    tests: ['test/unit/cdc-reader/startup/continuity.test.ts'],
  },
  {
    name: 'live-topic-id-not-compared',
    breaks: 'I11: a reader takes a topic that was created again for the one that it has published to',
    file: 'cdc-reader/startup/continuity.ts',
    find: '  requireSameTopic(checkpoint, liveTopicId);\n',
    replace: '',
    tests: ['test/unit/cdc-reader/startup/continuity.test.ts'],
  },
  {
    name: 'live-topic-not-watched',
    breaks: 'I11: a running reader publishes on into a topic that was created again',
    file: 'cdc-reader/supervise/topic-watch.ts',
    find: '      if (found === last) requireSameTopic(checkpoint, found);\n',
    replace: '',
    tests: ['test/unit/cdc-reader/supervise/topic-watch.test.ts'],
  },
  {
    name: 'fence-before-continuity-check',
    breaks: 'I11: a staging clone with production’s Kafka fences production',
    file: 'cdc-reader/startup/start-up.ts',
    find: "  await readVerifiedCheckpoint(config, kafka, source, stream, 'last_stable_offset');\n",
    replace: '',
    tests: ['test/fault/source/restores.test.ts'],
    testName: 'fences nobody as a staging clone',
  },
  {
    name: 'fence-skipped',
    breaks: 'I4: a zombie’s Kafka transaction is not fenced by its successor',
    file: 'cdc-reader/startup/kafka-connection.ts',
    find: 'transactionalId: config.transactionalId,',
    replace: "transactionalId: config.transactionalId + '.' + performance.now(),",
    tests: ['test/fault/reader/takeover.test.ts'],
    testName: 'publish nothing twice when the first does not learn',
  },
  {
    name: 'key-by-row-lsn',
    breaks: 'I4: rows that share an LSN share a position, as under a key of the row’s own LSN',
    file: 'cdc-reader/pipeline/assemble-transaction.ts',
    find: 'yield encodeEvent(context, ordinal++, this.#rows, order)',
    replace: 'yield encodeEvent(context, ordinal, this.#rows, order)',
    tests: ['test/unit/cdc-reader/pipeline/assemble-transaction.test.ts'],
  },
  {
    name: 'transaction-split-in-two',
    breaks: 'I5: each send of a huge database transaction is a Kafka transaction of its own',
    file: 'cdc-reader/pipeline/huge-transaction.ts',
    find: 'performance.now() - startedAtMs > config.transactionTimeoutMs / 2',
    replace: 'performance.now() >= startedAtMs',
    tests: ['test/unit/cdc-reader/pipeline/publish.test.ts'],
  },
  {
    name: 'partial-forgotten-when-idle',
    breaks: 'I4: the first orders of a partly published transaction are published again',
    file: 'cdc-reader/pipeline/publish.ts',
    find: 'sendLast([], { throughLsn })',
    replace: 'sendLast([], { throughLsn, partial: null })',
    tests: ['test/unit/cdc-reader/pipeline/publish.test.ts'],
  },
  {
    name: 'produce-answers-not-compared',
    breaks: 'I11: a topic recreated under a running producer goes unnoticed',
    file: 'cdc-reader/pipeline/kafka-transaction.ts',
    find: 'if (baseOffset < expected) {',
    replace: 'if (baseOffset < 0n) {',
    tests: ['test/unit/cdc-reader/pipeline/publish.test.ts'],
  },
  {
    name: 'sequences-renewed-on-resend',
    breaks: 'I4: a batch that is sent again gets new sequence numbers and is stored twice (kafkajs’s trap 2)',
    file: 'kafka/producer/transaction-client.ts',
    find: 'const pending = batches.filter((batch) => !stored.has(batch));',
    replace: `const isResent = (batch: ProduceBatch) => Object.hasOwn(batch, 'sent');
    const pending = batches
      .filter((batch) => !stored.has(batch))
      .map((batch) => Object.assign(batch, isResent(batch) ? this.#takeSequences(batch) : { sent: true }));`,
    tests: ['test/unit/kafka/producer/transaction-client.test.ts'],
  },
];

const sink: readonly Mutant[] = [
  {
    name: 'epoch-check-skipped',
    breaks: 'I6: a stale owner applies',
    file: 'cart-sink/sql/consumer-offsets.ts',
    find: ' AND mine.owner_epoch = step.owner_epoch',
    replace: '',
    tests: ['test/integration/cart-sink/apply-batch.test.ts'],
  },
  {
    name: 'epoch-not-raised',
    breaks: 'I6: taking a partition over fences nobody',
    file: 'cart-sink/sql/consumer-offsets.ts',
    find: 'SET owner_epoch = stored.owner_epoch + 1,',
    replace: 'SET owner_epoch = stored.owner_epoch,',
    tests: ['test/integration/cart-sink/partition-owner.test.ts'],
  },
  {
    name: 'fenced-owner-commits',
    breaks: 'I6: a fenced owner’s effects, sent with the offset that moved nothing, are committed',
    file: 'cart-sink/apply/move-offsets.ts',
    find: 'if (lost.length > 0) throw new FencedError(lost);',
    replace: `const none = { timeline: null, commitLsn: null, ordinal: null, generation: null };
  for (const { partition } of lost) before.set(partition, { partition, ...none });`,
    tests: ['test/integration/cart-sink/apply-batch.test.ts'],
  },
  {
    name: 'offset-outside-the-transaction',
    breaks: 'I6: the offset commits although the rest of the batch does not',
    file: 'cart-sink/apply/apply-batch.ts',
    find: 'database.transaction((tx) => applyInTransaction(tx, sorted, rule))',
    replace: `database.transaction((tx) => {
      let isFirst = true;
      const query = (statement: never) => {
        const target = isFirst ? database.pool : tx;
        isFirst = false;
        return target.query(statement);
      };
      return applyInTransaction({ query } as never, sorted, rule);
    })`,
    tests: ['test/integration/cart-sink/apply-batch.test.ts'],
  },
  {
    name: 'ledger-conflicts-ignored',
    breaks: 'I3: an order that the ledger has takes effect again',
    file: 'cart-sink/apply/apply-batch.ts',
    find: 'const isNew = orders.map(({ orderId }) => fresh.delete(orderId));',
    replace: 'const isNew = orders.map(({ orderId }) => fresh.delete(orderId) || true);',
    tests: ['test/integration/cart-sink/apply-batch.test.ts'],
  },
  {
    name: 'cart-lines-locked-in-any-order',
    breaks: 'I8: two sinks, or a sink and a user, deadlock',
    file: 'cart-sink/sql/cart-lines.ts',
    find: 'ORDER BY line.line_id',
    replace: 'ORDER BY line.line_id DESC',
    tests: ['test/integration/cart-sink/apply-batch.test.ts'],
  },
  {
    name: 'unanswered-commit-taken-for-done',
    breaks: 'I1: a batch whose COMMIT was not answered is passed over',
    file: 'cart-sink/apply/retry.ts',
    find: 'if (error instanceof CommitOutcomeUnknownError) isOutcomeUnknown = true;',
    replace: 'if (error instanceof CommitOutcomeUnknownError) return findOutcome(batch, batch) as never;',
    tests: ['test/unit/cart-sink/apply/retry.test.ts'],
  },
  {
    name: 'unanswered-commit-not-looked-up',
    breaks: 'I8: a batch that was applied is tried again, and passes for another owner’s',
    file: 'cart-sink/apply/retry.ts',
    find: 'if (error instanceof CommitOutcomeUnknownError) isOutcomeUnknown = true;',
    replace: 'if (error instanceof CommitOutcomeUnknownError) isOutcomeUnknown = false;',
    tests: ['test/unit/cart-sink/apply/retry.test.ts'],
  },
  {
    name: 'gap-between-fetches-passed',
    breaks: 'I11: a fetch that begins behind the position is taken for its continuation',
    file: 'cart-sink/consume/owned-partition.ts',
    find: 'if (firstOffset === position) return',
    replace: 'if (firstOffset >= position) return',
    tests: ['test/unit/cart-sink/consume/pipeline.test.ts'],
  },
  {
    name: 'fetches-on-after-a-topic-was-deleted',
    breaks: 'I11: a running sink reads on in a topic that was deleted and created again',
    file: 'kafka/reading/fetcher.ts',
    find: ' || partition.errorCode === UNKNOWN_TOPIC_OR_PARTITION',
    replace: '',
    tests: ['test/fault/kafka/topics.test.ts'],
    testName: 'also when the topic has grown beyond',
  },
  {
    name: 'lost-records-jumped-over',
    breaks: 'I11: retention beyond the stored offset goes unnoticed',
    file: 'kafka/reading/fetcher.ts',
    find: '        this.stop(reading);\n        this.#options.onOutOfRange(reading);\n',
    replace: '        reading.fromOffset += 1n;\n',
    tests: ['test/integration/kafka/fetcher.test.ts'],
    testName: 'does not have',
  },
  {
    name: 'carts-that-went-back-unnoticed',
    breaks: 'I8: an idle sink leaves a carts database as a failover has set it back',
    file: 'cart-sink/consume/lag-monitor.ts',
    find: 'return next < position || wasMoved;',
    replace: 'return wasMoved;',
    tests: ['test/unit/cart-sink/consume/lag-monitor.test.ts'],
  },
  {
    name: 'idle-gap-unnoticed',
    breaks: 'I11: records deleted before they were applied go unnoticed while none comes',
    file: 'cart-sink/consume/lag-monitor.ts',
    find: "checkStart(position, range) !== 'continues'",
    replace: "checkStart(position, range) === 'beyond-end'",
    tests: ['test/unit/cart-sink/consume/lag-monitor.test.ts'],
  },
  {
    name: 'succeeded-sink-halts',
    breaks: 'I8: a sink that was succeeded halts over records that its successor has applied',
    file: 'cart-sink/consume/owned-partition.ts',
    find: 'stored?.ownerEpoch === this.ownership.ownerEpoch && stored.nextOffset === this.#position',
    replace: 'stored?.ownerEpoch !== 0n',
    tests: ['test/unit/cart-sink/consume/pipeline.test.ts'],
  },
  {
    name: 'unclean-elections-unnoticed',
    breaks: 'Nobody hears that a topic may lose acknowledged records at an election',
    file: 'kafka/topics.ts',
    find: 'topic.replicationFactor > 1 && topic.uncleanElections',
    replace: 'topic.replicationFactor < 1 && topic.uncleanElections',
    tests: ['test/unit/kafka/topics.test.ts'],
  },
  {
    name: 'refused-group-as-outage',
    breaks: 'A missing grant on the consumer group shows as a Kafka that is away',
    file: 'kafka/protocol/patches.ts',
    find: '      if (answer === null && refusal !== undefined) throw refusal;\n',
    replace: '      void refusal;\n',
    tests: ['test/unit/kafka/protocol/patches.test.ts'],
  },
  {
    name: 'aborted-by-their-ends',
    breaks: 'I2: of aborted transactions that overlap, records pass for committed (kafkajs’s trap 4)',
    file: 'kafka/protocol/aborted-transactions.ts',
    find: '.sort((a, b) => (a.firstOffset < b.firstOffset ? -1 : 1))',
    replace: '',
    tests: ['test/unit/kafka/reading/fetched-batch.test.ts', 'test/unit/kafka/protocol/record-batch.test.ts'],
  },
  {
    name: 'jump-to-the-start-applied',
    breaks: 'I11: a jump to the start of a partition is taken for its continuation',
    file: 'cart-sink/consume/owned-partition.ts',
    find: 'if (firstOffset === position) return',
    replace: 'if (firstOffset <= position) return',
    tests: ['test/unit/cart-sink/consume/pipeline.test.ts'],
  },
  {
    name: 'positions-not-compared',
    breaks: 'I11: another history in the live topic is applied',
    file: 'cart-sink/apply/positions.ts',
    find: 'else if (isNew[index]) return',
    replace: 'else if (isNew[-1]) return',
    tests: ['test/unit/cart-sink/apply/positions.test.ts'],
  },
  {
    name: 'unknown-schema-parked',
    breaks: 'I9: a record that a newer program could read is parked instead of halting',
    file: 'cart-sink/consume/parse-records.ts',
    find: 'if (error instanceof MalformedEventError || error instanceof MalformedReplayEndError) return',
    replace: 'if (error instanceof Error) return',
    tests: ['test/unit/cart-sink/consume/parse-records.test.ts'],
  },
  {
    name: 'batch-passed-to-its-stated-end',
    breaks: 'I1: an operator who parks a damaged batch passes good records too, as its header states',
    file: 'kafka/protocol/first-unit.ts',
    find: 'if (follows === undefined ? endOffset !== stableOffset : endOffset !== follows) {',
    replace: 'if (batchBytes < 0) {',
    tests: ['test/unit/kafka/protocol/first-unit.test.ts'],
  },
  {
    name: 'readable-batch-parked-by-its-first-record',
    breaks: 'I1: an operator whose limit is higher parks one good record, and the partition halts again',
    file: 'tools/adopt/sink/standing-unit.ts',
    find: "if (!halted_code.startsWith('BATCH_')) return",
    replace: 'if (halted_code.length > 0) return',
    tests: ['test/unit/tools/adopt/sink/standing-unit.test.ts'],
  },
  {
    name: 'batch-parked-as-its-first-record',
    breaks: 'I1: parking a whole batch moves behind its first offset only, and the partition halts again',
    file: 'cart-sink/apply/decide-parked.ts',
    find: 'passHaltedRecord(consumerGroup, stands, record.lastOffset)',
    replace: 'passHaltedRecord(consumerGroup, stands, record.offset)',
    tests: ['test/integration/cart-sink/decide-parked.test.ts'],
  },
  {
    name: 'park-under-any-epoch',
    breaks: 'I6: a record is parked although a sink has taken its partition over',
    file: 'cart-sink/sql/consumer-offsets.ts',
    find: '} AND halted_code IS NOT NULL',
    replace: '} IS NOT NULL',
    tests: ['test/integration/cart-sink/decide-parked.test.ts'],
  },
  {
    name: 'parked-order-applied-twice',
    breaks: 'I3: a second retry of a parked order takes its goods again',
    file: 'cart-sink/apply/decide-parked.ts',
    find: 'if (isNew)\n      await sendAll(',
    replace: 'await sendAll(',
    tests: ['test/integration/cart-sink/decide-parked.test.ts'],
  },
  {
    name: 'retry-beside-a-batch',
    breaks: 'I6: a decision does not wait for the batch of its partition',
    file: 'cart-sink/apply/decide-parked.ts',
    find: 'await tx.query(lockOffsets(consumerGroup, [place]));',
    replace: 'void [lockOffsets, consumerGroup, place];',
    tests: ['test/integration/cart-sink/decide-parked.test.ts'],
  },
  {
    name: 'moved-halt-unnoticed',
    breaks: 'I8: a running sink keeps a partition halted that an operator has moved',
    file: 'cart-sink/consume/lag-monitor.ts',
    find: 'return next < position || wasMoved;',
    replace: 'return next < position && !wasMoved;',
    tests: ['test/unit/cart-sink/consume/lag-monitor.test.ts'],
  },
  {
    name: 'read-uncommitted-sink',
    breaks: 'I2: the sink applies what Kafka has not committed',
    file: 'kafka/reading/fetcher.ts',
    find: "isolation: 'read_committed'",
    replace: "isolation: 'read_uncommitted'",
    tests: ['test/integration/cart-sink/cart-sink.test.ts'],
    testName: 'passes aborted transactions',
  },
  {
    name: 'topic-id-not-compared',
    breaks: 'I11: a topic that was deleted, created again and filled passes for the one that was consumed',
    file: 'cart-sink/consume/takeover.ts',
    find: '      recreated ??= findRecreated(row, topicId);\n',
    replace: '',
    tests: ['test/unit/cart-sink/consume/takeover.test.ts'],
  },
  {
    name: 'topic-id-not-watched',
    breaks: 'I11: a running sink does not notice that its topic was deleted, created again and filled',
    file: 'cart-sink/consume/lag-monitor.ts',
    find: 'standings.find(({ consumer }) => isOtherTopic(consumer.ownership.topicId, topicId))',
    replace: 'standings.find(({ consumer }) => isOtherTopic(consumer.ownership.topicId, null))',
    tests: ['test/unit/cart-sink/consume/lag-monitor.test.ts'],
  },
  {
    name: 'replaced-log-not-noticed',
    breaks: 'I1: orders that took the offsets of lost ones are passed as applied',
    file: 'cart-sink/consume/owned-partition.ts',
    find: 'hasApplied && leaderEpochs.first !== this.#leaderEpoch',
    replace: 'hasApplied && leaderEpochs.first < 0',
    tests: ['test/unit/cart-sink/consume/pipeline.test.ts'],
    testName: 'is another one',
  },
  {
    name: 'unknown-run-applied',
    breaks: 'I10: a replay run that a restored carts database does not know is applied to it',
    file: 'cart-sink/consume/replay-admission.ts',
    find: "  if (run === undefined) return 'unknown-run';\n",
    replace: "  if (run === undefined) return 'apply';\n",
    tests: ['test/unit/cart-sink/consume/pipeline.test.ts'],
    testName: 'does not know',
  },
  {
    name: 'stored-offset-not-fetched-from',
    breaks: 'I6: the offset that the carts database holds does not decide where consuming goes on',
    file: 'kafka/reading/fetcher.ts',
    find: 'fromOffset: offset, ...fresh',
    replace: 'fromOffset: offset > 0n ? 0n : offset, ...fresh',
    tests: ['test/integration/cart-sink/cart-sink.test.ts'],
    testName: 'never reads the offsets that Kafka keeps',
  },
  {
    name: 'batch-checksum-ignored',
    breaks: 'I1: a damaged batch is read as if it were whole',
    file: 'kafka/protocol/record-batch.ts',
    find: "  if (crc !== batch.readUInt32BE(17)) throw new RangeError('its checksum does not fit its bytes');\n",
    replace: '',
    tests: ['test/unit/kafka/protocol/record-batch.test.ts'],
    testName: 'names place and reason',
  },
  {
    name: 'unreadable-batch-passed',
    breaks: 'I11: the sink goes past a batch that it can not read',
    file: 'cart-sink/consume/pipeline.ts',
    find: '    throw fetched.unreadable;\n',
    replace: '',
    tests: ['test/unit/cart-sink/consume/pipeline.test.ts'],
    testName: 'applies what precedes a batch',
  },
  {
    name: 'rebalanced-partition-applied',
    breaks: 'I8: during a rebalance a sink goes on with partitions that another one may own',
    file: 'cart-sink/consume/group-session.ts',
    find: 'onRebalancing: () => this.#assignment.abort(),',
    replace: 'onRebalancing: () => undefined,',
    tests: ['test/unit/cart-sink/consume/group-session.test.ts'],
  },
  {
    name: 'delivered-after-rebalance',
    breaks: 'I11: a fetch of an assignment that has ended is delivered to the next one',
    file: 'kafka/reading/fetcher.ts',
    find: '!wanted.includes(reading)',
    replace: 'wanted.length === 0',
    tests: ['test/integration/kafka/fetcher.test.ts'],
    testName: 'started again',
  },
  {
    name: 'live-and-replay-in-one-transaction',
    breaks: 'I10: a replay shares its transaction with the live topic, and a failure of one is the other’s',
    file: 'cart-sink/apply/join-batches.ts',
    find: 'one.topic === other.topic && ',
    replace: '',
    tests: ['test/unit/cart-sink/apply/join-batches.test.ts'],
  },
  {
    name: 'joined-beyond-the-limits',
    breaks: 'I8: partitions together take more records into one transaction than one alone may',
    file: 'cart-sink/apply/join-batches.ts',
    find: 'records <= limits.maxRecords && bytes <= limits.maxBytes',
    replace: 'records >= 0',
    tests: ['test/unit/cart-sink/apply/join-batches.test.ts'],
  },
  {
    name: 'guilty-partition-in-common-again',
    breaks: 'I8: a partition that fails takes the others with it at each try',
    file: 'cart-sink/apply/join-batches.ts',
    find: '        apart.add(keyOf(batch));\n',
    replace: '',
    tests: ['test/unit/cart-sink/apply/join-batches.test.ts'],
  },
  {
    name: 'one-outcome-for-all',
    breaks: 'I1: after a COMMIT without an answer one partition’s offset decides for the others',
    file: 'cart-sink/apply/common-transaction.ts',
    find: 'findOutcome(batch, await io.readStored(batch))',
    replace: 'findOutcome(batches[0]!, await io.readStored(batches[0]!))',
    tests: ['test/unit/cart-sink/apply/common-transaction.test.ts'],
  },
  {
    name: 'fenced-with-its-neighbours',
    breaks: 'I8: partitions that shared a transaction with a lost one count as lost',
    file: 'cart-sink/apply/common-transaction.ts',
    find: 'for (const batch of result.lost)',
    replace: 'for (const batch of left)',
    tests: ['test/unit/cart-sink/apply/common-transaction.test.ts'],
  },
  {
    name: 'limits-retried-in-common',
    breaks: 'I8: a user’s lock on one cart line holds up every partition of the transaction, for ever',
    file: 'cart-sink/apply/common-transaction.ts',
    find: 'if (findTransientReason(error) === undefined) return false;',
    replace: 'if (findTransientReason(error) !== undefined) return true;',
    tests: ['test/unit/cart-sink/apply/common-transaction.test.ts'],
  },
  {
    name: 'offsets-locked-in-any-order',
    breaks: 'I8: a takeover and a common transaction deadlock over their offsets',
    file: 'cart-sink/sql/consumer-offsets.ts',
    find: 'ORDER BY stored.topic, stored.partition\n',
    replace: 'ORDER BY stored.topic, stored.partition DESC\n',
    tests: ['test/integration/cart-sink/apply-together.test.ts'],
  },
  {
    name: 'search-path-not-pinned',
    breaks: "I3: the sink takes another program's tables for its own",
    file: 'service/postgres/session.ts',
    find: "  search_path: 'public, pg_temp',\n",
    replace: '',
    tests: ['test/integration/service/session-settings.test.ts'],
    testName: 'all of them together',
  },
];

export const mutants: readonly Mutant[] = [...reader, ...captureMutants, ...sink, ...httpMutants];

export class StaleMutantError extends Error {
  readonly code = 'STALE_MUTANT';

  constructor({ name, file }: Mutant, found: number) {
    super(`The mutant ${name} is stale: what it replaces occurs ${found} times in ${file} instead of once. Mend it.`);
    this.name = 'StaleMutantError';
  }
}

/** The file's text with the mutant in it. @throws StaleMutantError unless `find` occurs exactly once */
export function mutate(text: string, mutant: Mutant): string {
  const parts = text.split(mutant.find);
  if (parts.length !== 2) throw new StaleMutantError(mutant, parts.length - 1);
  return parts.join(mutant.replace);
}
