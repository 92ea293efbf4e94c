// Several files as one to upload: a tar (POSIX ustar) that is made of the files themselves, so that none is read before it is sent.

const BLOCK = 512;
const LONGEST_NAME = 100; // bytes; longer ones stand in a block of their own, as GNU tar writes them
const utf8 = new TextEncoder();

// files: [{ path, file }] -> Blob
export function tarOf(files) {
  const parts = [];
  for (const { path, file } of files) {
    const name = utf8.encode(path);
    if (name.length > LONGEST_NAME) parts.push(header(utf8.encode("././@LongLink"), name.length, 0, "L"), name, padding(name.length));
    parts.push(header(name.slice(0, LONGEST_NAME), file.size, Math.floor(file.lastModified / 1000), "0"), file, padding(file.size));
  }
  parts.push(new Uint8Array(2 * BLOCK));
  return new Blob(parts, { type: "application/x-tar" });
}

const padding = (size) => new Uint8Array((BLOCK - (size % BLOCK)) % BLOCK);

function header(name, size, seconds, kind) {
  const block = new Uint8Array(BLOCK);
  const put = (offset, text) => block.set(utf8.encode(text), offset);
  const octal = (offset, value, digits) => put(offset, `${value.toString(8).padStart(digits, "0")}\0`);
  block.set(name, 0);
  octal(100, 0o644, 7);
  octal(108, 0, 7);
  octal(116, 0, 7);
  octal(124, size, 11);
  octal(136, Math.max(0, seconds), 11);
  put(148, "        ");
  put(156, kind);
  put(257, "ustar\u000000");
  put(148, `${block.reduce((sum, each) => sum + each, 0).toString(8).padStart(6, "0")}\0 `);
  return block;
}

// What was dropped or chosen, as [{ path, file }] and a name for all of it. Hidden files and folders stay where they are: the
// service would not read them, either.
export async function filesOf(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean); // gone after the first await
  if (!entries.length) return chosen(transfer.files);
  const found = (await Promise.all(entries.map((entry) => within(entry, "")))).flat();
  return { files: found, name: entries.length === 1 && entries[0].isDirectory ? entries[0].name : null };
}

export function chosen(list) {
  const files = [...list].map((file) => ({ path: file.webkitRelativePath || file.name, file })).filter(({ path }) => !hidden(path));
  return { files, name: files[0]?.file.webkitRelativePath ? files[0].path.split("/")[0] : null };
}

const hidden = (path) => path.split("/").some((part) => part.startsWith("."));

async function within(entry, above) {
  const path = above + entry.name;
  if (hidden(path)) return [];
  if (entry.isFile) return [{ path, file: await new Promise((resolve, reject) => entry.file(resolve, reject)) }];
  const reader = entry.createReader();
  const inside = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)); // a hundred at a time
    if (!some.length) break;
    inside.push(...some);
  }
  return (await Promise.all(inside.map((each) => within(each, `${path}/`)))).flat();
}

// What is sent of them: one file as it is, several or a folder as a tar. Of a folder, paths begin inside it.
export function packed({ files, name }) {
  if (!files.length) return null;
  if (files.length === 1 && !name) return { data: files[0].file, name: files[0].file.name };
  const inside = files.map(({ path, file }) => ({ path: name ? path.slice(name.length + 1) : path, file }));
  return { data: tarOf(inside), name: `${name ?? files[0].file.name.replace(/\.[^.]*$/, "")}.tar` };
}
