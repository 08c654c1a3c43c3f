/** Numbers as the bytes of a message, in which they may begin anywhere. */
export function bytes(kind, values) {
  const content = new Uint8Array(kind.from(values).buffer);
  const message = new Uint8Array(content.length + 3);
  message.set(content, 3);
  return new DataView(message.buffer, 3, content.length);
}
