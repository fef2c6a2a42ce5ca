import { describe, expect, it } from 'vitest';
import { topicSettings } from '#kafka/create-topics.ts';
import { checkTopic, type TopicDescription } from '#kafka/topics.ts';

const live: TopicDescription = {
  name: 'orders.placed',
  exists: true,
  partitions: 6,
  replicationFactor: 3,
  cleanupPolicy: 'delete',
  minInsyncReplicas: 2,
  uncleanElections: false,
};
const checkpoint = { ...live, name: 'cdc.checkpoints.s', partitions: 1, cleanupPolicy: 'compact' };
const events = { cleanupPolicy: 'delete', brokers: 3 } as const;
const checkpoints = { cleanupPolicy: 'compact', brokers: 3 } as const;

describe('the rules for topics', () => {
  it('let a topic of events and a checkpoint topic pass as the reader creates them', () => {
    expect(checkTopic(live, events)).toEqual({ problems: [], warnings: [] });
    expect(checkTopic(checkpoint, checkpoints)).toEqual({ problems: [], warnings: [] });
  });

  it.each(['compact', 'compact,delete', 'delete,compact'])(
    'refuse a topic of events with cleanup.policy=%s',
    (policy) => {
      const { problems } = checkTopic({ ...live, cleanupPolicy: policy }, events);
      expect(problems).toHaveLength(1);
      expect(problems[0]).toContain(`cleanup.policy=${policy}`);
    },
  );

  it.each(['delete', 'compact,delete'])('refuse a checkpoint topic with cleanup.policy=%s', (policy) => {
    const { problems } = checkTopic({ ...checkpoint, cleanupPolicy: policy }, checkpoints);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain('--add-config cleanup.policy=compact');
  });

  it('refuse a checkpoint topic with two partitions', () => {
    expect(checkTopic({ ...checkpoint, partitions: 2 }, checkpoints).problems[0]).toContain('2 partitions');
  });

  it('warn of a single replica on several brokers, and only there', () => {
    const single = { ...live, replicationFactor: 1, minInsyncReplicas: 1 };
    expect(checkTopic(single, events).warnings).toHaveLength(1);
    expect(checkTopic(single, { ...events, brokers: 1 })).toEqual({ problems: [], warnings: [] });
  });

  it('warn of replicas that need not be in sync', () => {
    expect(checkTopic({ ...live, minInsyncReplicas: 1 }, events).warnings[0]).toContain('min.insync.replicas=1');
  });
});

describe('a leader that lacks records', () => {
  it('is warned of, with the command, where there is another replica to become one', () => {
    const [warning] = checkTopic({ ...live, uncleanElections: true }, events).warnings;
    expect(warning).toContain('unclean.leader.election.enable=true');
    expect(warning).toContain('--add-config unclean.leader.election.enable=false');
    const single = { ...live, uncleanElections: true, replicationFactor: 1, minInsyncReplicas: 1 };
    expect(checkTopic(single, { ...events, brokers: 1 }).warnings).toEqual([]);
  });
});

describe('the settings of a new topic', () => {
  const spec = { name: 't', partitions: 6, retentionMs: -1, cleanupPolicy: 'delete' } as const;

  it('want all replicas but one in sync, at least one', () => {
    expect(topicSettings(spec, 3)['min.insync.replicas']).toBe('2');
    expect(topicSettings(spec, 1)['min.insync.replicas']).toBe('1');
    expect(topicSettings({ ...spec, minInsyncReplicas: 1 }, 3)['min.insync.replicas']).toBe('1');
  });

  it('keep events as long as told', () => {
    expect(topicSettings(spec, 1)).toMatchObject({ 'cleanup.policy': 'delete', 'retention.ms': '-1' });
  });

  it('compact a checkpoint topic in small segments and give it no retention', () => {
    const settings = topicSettings({ ...spec, cleanupPolicy: 'compact' }, 1);
    expect(settings['cleanup.policy']).toBe('compact');
    expect(Number(settings['segment.bytes'])).toBeLessThan(100 * 1024 * 1024);
    expect(settings).not.toHaveProperty('retention.ms');
  });
});
