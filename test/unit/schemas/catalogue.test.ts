import { expect, test } from 'vitest';
import { crc64Avro, createCatalogue } from '#schemas/catalogue.ts';

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

// From the same file, and the second one a logical type beside its plain long: what is told of a schema besides its form
// (namespace spelled apart, docs, aliases, logical types) drops out.
test.each([
  ['"long"', -3434872931120570953n],
  ['{"type":"long","logicalType":"timestamp-micros"}', -3434872931120570953n],
  ['{"fields":[], "type":"record", "name":"foo", "namespace":"x.y"}', 5916914534497305771n],
  ['{"fields":[], "type":"record", "name":"a.b.foo", "namespace":"x.y"}', -4616218487480524110n],
  ['{"fields":[], "type":"record", "name":"foo", "doc":"foo", "aliases":["foo","bar"]}', -4824392279771201922n],
  ['{"fields":[{"type":{"type":"boolean"}, "name":"f1"}], "type":"record", "name":"foo"}', 7843277075252814651n],
  [
    '{"namespace":"x.y.z", "type":"enum", "name":"foo", "doc":"foo bar", "symbols":["A1", "A2"]}',
    -4448647247586288245n,
  ],
  ['{ "items":{"type":"null"}, "type":"array"}', -589620603366471059n],
  [
    '{"name":"PigValue","type":"record","fields":[{"name":"value", "type":["null", "int", "long", "PigValue"]}]}',
    -1759257747318642341n,
  ],
])('the schema %s gets the fingerprint of its canonical form', (schema, expected) => {
  expect(BigInt.asIntN(64, createCatalogue([schema])[0]!.fingerprint)).toBe(expected);
});
