// Which database URLs work: one meaning for every library; what is refused names what to write instead and repeats nothing.
import { userInfo } from 'node:os';
import { describe, expect, it } from 'vitest';
import { parseDatabaseUrl, sslModes } from '#service/postgres/database-url.ts';

const plain = { host: 'h', port: 5432, user: 'u', password: 'p', database: 'd', sslMode: undefined, sslFiles: {} };

describe('a database URL', () => {
  it.each<[string, object]>([
    ['postgres://u:p@h:5432/d', {}],
    ['postgresql://u:p@h/d', {}],
    ['postgres://u:p@db-1.example_x.com:6000/d', { host: 'db-1.example_x.com', port: 6000 }],
    ['postgres://h/d', { user: userInfo().username, password: '' }],
    ['postgres://u@h/d', { password: '' }],
    ['postgres://u:@h/d', { password: '' }],
    ['postgres://u:p@[::1]:6000/d', { host: '::1', port: 6000 }],
    ['postgres://u:p@[2001:db8::7]/d', { host: '2001:db8::7' }],
    ['postgres://u:p@[fe80::1%25eth0]/d', { host: 'fe80::1%eth0' }],
    ['postgres://u:p@127.0.0.1/d', { host: '127.0.0.1' }],
    ['postgres://u:a&b,c:d=e;f!$\'"*()+[]@h/d', { password: 'a&b,c:d=e;f!$\'"*()+[]' }],
    ['postgres://u:a@b@h/d', { password: 'a@b' }],
    ['postgres://u:%40%3A%2F%3F%23%25%26@h/d', { password: '@:/?#%&' }],
    ['postgres://u%40corp:p%C3%A4%20@h/d%2Fe', { user: 'u@corp', password: 'pä ', database: 'd/e' }],
    ['postgres://u:p@h/d\n', {}],
    ['  postgres://u:p@h/d\r\n ', {}],
    ['postgres://u:p@/d?host=/var/run/postgresql', { host: '/var/run/postgresql' }],
    ['postgres://u:p@/d?host=/var/run/postgresql&port=6000', { host: '/var/run/postgresql', port: 6000 }],
    ['postgres://u:p@%2Fvar%2Frun%2Fpostgresql/d', { host: '/var/run/postgresql' }],
    ['postgres://u:p@%2Fvar%2Frun/d?sslmode=require', { host: '/var/run', sslMode: 'require' }],
    ['postgres://u:p@/d?host=h&port=6000', { port: 6000 }],
    ['postgres://u:p@h/d?', {}],
    ...sslModes.map((mode): [string, object] => [`postgres://u:p@h/d?sslmode=${mode}`, { sslMode: mode }]),
    ['postgres://u:p@h/d?sslrootcert=system', { sslFiles: { sslrootcert: 'system' } }],
    ['postgres://u:p@h/d?sslcert=/a%20b&sslkey=/k', { sslFiles: { sslcert: '/a b', sslkey: '/k' } }],
  ])('%j means one thing', (text, expected) => {
    expect(parseDatabaseUrl(text)).toEqual({ ...plain, ...expected });
  });

  it.each<[string, RegExp]>([
    ['', /expected a URL like postgres:\/\//],
    ['h:5432', /expected a URL/],
    ['http://u:secret@h/d', /expected a URL/],
    ['postgres://u:secret@h', /expected a URL/],
    ['postgres://u:secret@h/', /expected a URL/],
    ['postgres://u:secret@/d', /Unix socket.*host=/],
    ['postgres:///d', /Unix socket.*host=/],
    ['postgres://u:se/cret@h/d', /write .* \/ as %2F/],
    ['postgres://u:12/cret@h/d', /write .* \/ as %2F/],
    ['postgres://u:se?cret@h/d', /\? as %3F/],
    ['postgres://u:se#cret@h/d', /# as %23/],
    ['postgres://u:se%cret@h/d', /% as %25/],
    ['postgres://u:secret%@h/d', /% as %25/],
    ['postgres://u:secret@h/d#x', /# as %23/],
    ['postgres://u:secret@h:0/d', /port/],
    ['postgres://u:secret@h:65536/d', /port/],
    ['postgres://u:secret@h:12x/d', /port|expected a URL/],
    ['postgres://u:secret@h/d?port=x', /port/],
    ['postgres://u:secret@h:1/d?port=2', /port twice/],
    ['postgres://u:secret@h1,h2/d', /several hosts\. Name one/],
    ['postgres://u:secret@h1:1,h2:2/d', /several hosts\. Name one/],
    ['postgres://u:secret@/d?host=h1,h2', /several hosts\. Name one/],
    ['postgres://u:secret@h/d?host=/tmp', /host twice/],
    ['postgres://u:secret@::1:5432/d', /brackets|expected a URL|port/],
    ['postgres://u:secret@[::g]/d', /not an IPv6 address/],
    ['postgres://u:secret@h h/d', /expected a URL/],
    ['postgres://u:sec ret@h/d', /expected a URL/],
    ['host=h port=5432 user=u password=secret', /not keyword=value pairs/],
    ['user = u password = secret', /not keyword=value pairs/],
    ['socket:/tmp?db=d', /expected a URL/],
    ['postgres://u:secret@h/d?target_session_attrs=read-write', /remove all but host, port, sslmode/],
    ['postgres://u:secret@h/d?pgbouncer=true', /remove all but/],
    ['postgres://u:secret@h/d?options=-c%20statement_timeout=1', /remove all but/],
    ['postgres://u:secret@h/d?sslmode=on', /disable, allow, prefer, require, verify-ca, verify-full/],
    ['postgres://u:secret@h/d?sslmode=', /sslmode is not one of/],
    ['postgres://u:secret@h/d?sslmode=require&sslmode=disable', /twice/],
  ])('%j is refused with what to write, and without what is in it', (text, reason) => {
    expect(() => parseDatabaseUrl(text)).toThrow(reason);
    let message = '';
    try {
      parseDatabaseUrl(text);
    } catch (error) {
      message = (error as Error).message;
    }
    expect(message).not.toMatch(/secret|se.cret|h1/);
  });
});
