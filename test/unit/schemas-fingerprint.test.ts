import { expect, test } from 'vitest';
import { crc64Avro } from '#schemas/fingerprint.ts';

// Signed, as Avro's own test data (share/test/data/schema-tests.txt) prints them.
test.each([
  ['"null"', 7195948357588979594n],
  ['"boolean"', -6970731678124411036n],
  ['"int"', 8247732601305521295n],
  ['"long"', -3434872931120570953n],
  ['"float"', 5583340709985441680n],
  ['"double"', -8181574048448539266n],
  ['"bytes"', 5746618253357095269n],
  ['"string"', -8142146995180207161n],
])('the fingerprint of %s is the one in the Avro test data', (canonical, expected) => {
  expect(BigInt.asIntN(64, crc64Avro(Buffer.from(canonical)))).toBe(expected);
});

test('the fingerprint of "int" is the one in the Avro specification', () => {
  expect(crc64Avro(Buffer.from('"int"'))).toBe(0x7275d51a3f395c8fn);
});

test('the fingerprint of nothing is the polynomial itself', () => {
  expect(crc64Avro(Buffer.alloc(0))).toBe(0xc15d213aa4d7a795n);
});
