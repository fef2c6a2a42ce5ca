// Addresses to listen on that only programs of this machine can reach.
import { isIP, isIPv6 } from 'node:net';

export function isLoopback(host: string): boolean {
  const name = host.toLowerCase().replace(/^::ffff:(?=\d+\.)/, '');
  if (isIP(name) === 0) return name === 'localhost';
  return isIPv6(name) ? /^[0:]*:0*1$/.test(name) : name.startsWith('127.');
}
