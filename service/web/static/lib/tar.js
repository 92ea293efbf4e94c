// Pack chosen or dropped files into one upload: a tar (POSIX ustar) built as a Blob of the files, so that none is read into memory.

const BLOCK = 512;
const LONGEST_NAME = 100; // bytes; a longer name gets a block of its own, as in GNU tar
const utf8 = new TextEncoder();

// files: [{ path, file }] -> Blob
function tarOf(files) {
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

// Lists dropped files -> { files: [{ path, file }], name: the folder's name or null }. Skips hidden files and folders, as the service does.
export async function filesOf(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean); // the browser clears them at the first await
  if (!entries.length) return chosen(transfer.files);
  const found = (await Promise.all(entries.map((entry) => within(entry, "")))).flat();
  return { files: found, name: entries.length === 1 && entries[0].isDirectory ? entries[0].name : null };
}

// The same for the FileList of an <input>
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
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)); // at most 100 per call
    if (!some.length) break;
    inside.push(...some);
  }
  return (await Promise.all(inside.map((each) => within(each, `${path}/`)))).flat();
}

// Gives { data, name } to upload: a single file as it is, several files or a folder as a tar, or null if there are none. Paths in a
// folder's tar are relative to the folder.
export function packed({ files, name }) {
  if (!files.length) return null;
  if (files.length === 1 && !name) return { data: files[0].file, name: files[0].file.name };
  const inside = files.map(({ path, file }) => ({ path: name ? path.slice(name.length + 1) : path, file }));
  return { data: tarOf(inside), name: `${name ?? files[0].file.name.replace(/\.[^.]*$/, "")}.tar` };
}
