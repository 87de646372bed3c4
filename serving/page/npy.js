/** npy, version 1.0: how arrays travel to the server and back without a loss or a detour. */

const MAGIC = "\x93NUMPY";
const TYPES = { "|u1": Uint8Array, "<f4": Float32Array };

/**
 * @typedef {{shape: number[], data: Uint8Array | Float32Array}} Tensor
 */

/**
 * The file that holds this array.
 * @param {Tensor} tensor
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function write({ shape, data }) {
  const descr = data instanceof Uint8Array ? "|u1" : "<f4";
  const tuple = shape.length === 1 ? `${shape[0]},` : shape.join(", ");
  let header = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${tuple}), }`;
  header = header.padEnd(Math.ceil((header.length + 11) / 64) * 64 - 11) + "\n";
  const head = `${MAGIC}\x01\x00${String.fromCharCode(header.length & 255, header.length >> 8)}${header}`;
  const file = new Uint8Array(head.length + data.byteLength);
  for (let i = 0; i < head.length; i += 1) file[i] = head.charCodeAt(i);
  file.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), head.length);
  return file;
}

/**
 * The array in a file of the server's: C order, uint8 or little-endian float32.
 * @param {ArrayBuffer} file
 * @returns {Tensor}
 */
export function read(file) {
  const bytes = new Uint8Array(file);
  if (String.fromCharCode(...bytes.subarray(0, 6)) !== MAGIC) throw new Error("no npy file");
  const end = 10 + bytes[8] + 256 * bytes[9];
  const header = String.fromCharCode(...bytes.subarray(10, end));
  const descr = /'descr': '([^']+)'/.exec(header)?.[1] ?? "";
  const shape = (/'shape': \(([^)]*)\)/.exec(header)?.[1] ?? "")
    .split(",")
    .filter((size) => size.trim())
    .map(Number);
  const Type = TYPES[/** @type {keyof typeof TYPES} */ (descr)];
  if (!Type || header.includes("True")) throw new Error(`an npy file of another kind: ${header}`);
  return { shape, data: new Type(file.slice(end)) };
}
