// The proxy that fault tests break the network with: bytes are held and cut exactly where a hook says so, and otherwise
// arrive whole and in order.

import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { describe, expect, test } from 'vitest';
import { isPortFree } from '../../dev/process/ports.ts';
import { createKafkaAnswerReader, createKafkaRequestReader, kafkaApi } from '../support/kafka/frames.ts';
import { createTcpProxy } from '../support/network/tcp-proxy.ts';
import { waitFor } from '../support/wait.ts';

describe('a TCP proxy', () => {
  test('forwards up to a byte, holds the rest, releases it in order, and cuts', async () => {
    const target = createServer((socket) => socket.pipe(socket));
    await new Promise<void>((resolve) => target.listen(0, '127.0.0.1', resolve));
    const proxy = await createTcpProxy({ targetPort: (target.address() as AddressInfo).port });
    const socket: Socket = connect(proxy.port, '127.0.0.1');
    let received = '';
    let closed = false;
    socket.on('data', (data) => (received += data.toString()));
    socket.on('close', () => (closed = true));
    proxy.onClientData((data) => ({ forward: data.subarray(0, 3), rest: 'hold' }));
    socket.write('abcdef');
    await waitFor('the first three bytes', () => received === 'abc');
    socket.write('ghi');
    await waitFor('the rest to reach the proxy', () => proxy.connections[0]?.clientBytes === 9);
    expect(received).toBe('abc');
    proxy.onClientData(undefined);
    proxy.release();
    await waitFor('all bytes', () => received === 'abcdefghi');

    proxy.pause();
    socket.write('jkl');
    proxy.resume();
    await waitFor('the bytes written while paused', () => received === 'abcdefghijkl');

    proxy.onServerData((data) => ({ forward: data.subarray(0, 1), rest: 'cut' }));
    socket.write('mno');
    await waitFor('the cut', () => closed);
    expect(received).toBe('abcdefghijklm');

    proxy.refuse();
    expect(await isPortFree(proxy.port)).toBe(true);
    await proxy.accept();
    expect(await isPortFree(proxy.port)).toBe(false);
    proxy.close();
    target.close();
  });
});

describe('reading Kafka frames', () => {
  const request = (apiKey: number, correlationId: number, bodyBytes: number): Buffer => {
    const frame = Buffer.alloc(12 + bodyBytes);
    frame.writeInt32BE(8 + bodyBytes, 0);
    frame.writeInt16BE(apiKey, 4);
    frame.writeInt32BE(correlationId, 8);
    return frame;
  };

  test('finds the same requests however the bytes are cut into chunks', () => {
    const stream = Buffer.concat([
      request(kafkaApi.produce, 1, 50),
      request(kafkaApi.endTxn, 2, 0),
      request(kafkaApi.fetch, 3, 7),
    ]);
    for (let chunkBytes = 1; chunkBytes <= stream.length; chunkBytes += 1) {
      const read = createKafkaRequestReader();
      const found: number[][] = [];
      for (let at = 0; at < stream.length; at += chunkBytes) {
        for (const { apiKey, correlationId } of read(stream.subarray(at, at + chunkBytes)))
          found.push([apiKey, correlationId]);
      }
      expect(found).toEqual([
        [kafkaApi.produce, 1],
        [kafkaApi.endTxn, 2],
        [kafkaApi.fetch, 3],
      ]);
    }
  });

  test('says where in the chunk a frame starts, and reads answers as short as a correlation id', () => {
    const readRequests = createKafkaRequestReader();
    expect(
      readRequests(Buffer.concat([request(0, 1, 5), request(26, 2, 3)])).map(({ startByte }) => startByte),
    ).toEqual([0, 17]);
    const answer = Buffer.from([0, 0, 0, 4, 0, 0, 0, 9]);
    const readAnswers = createKafkaAnswerReader();
    expect(readAnswers(Buffer.concat([answer, answer]))).toEqual([
      { correlationId: 9, startByte: 0 },
      { correlationId: 9, startByte: 8 },
    ]);
  });
});
