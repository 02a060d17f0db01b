"use strict";
// A map of 256×256 tiles on a canvas. Places are those of a square world, 0 to 1 from the left and from the top: web
// mercator, or the pixels of the image, of which 256·2^pixel_zoom are the side.

const byId = (id) => document.getElementById(id);
const canvas = byId("view"), pen = canvas.getContext("2d");
const state = { left: "", right: "", view: "one", band: "", low: null, high: null, limit: 3, scheme: "",
                x: 0.5, y: 0.5, zoom: 0, at: 0.5 };
const files = new Map();   // name -> what the list says of it, and .about once that is known
const tiles = new Map();   // address -> picture; null while it is fetched, false where there is none
const MOST_TILES = 600, AT_ONCE = 6;
let fetching = 0, wanted = [], asked = 0, drawing = 0;
let ownStretch = false;  // that of each file, until a hand has set another

async function json(address) {
  const answer = await fetch(address);
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.error);
  return found;
}

function tell(text, wrong = false) {
  byId("status").textContent = text;
  byId("status").classList.toggle("wrong", wrong);
}

async function about(name) {
  const file = files.get(name);
  if (!file.about) {
    tell(`opening ${name} …`);
    file.about = await json(`${file.url}/info`);
    tell("");
  }
  return file.about;
}

async function stretch(name, band) {
  const file = files.get(name);
  file.stretch ??= {};
  if (!file.stretch[band]) {
    tell(`looking at ${name} …`);
    const found = await json(`${file.url}/stretch?${new URLSearchParams({ band })}`);
    file.stretch[band] = [found.low, found.high];
    tell("");
  }
  return file.stretch[band];
}

async function ownRange() {
  ownStretch = false;
  [state.low, state.high] = await stretch(state.left, state.band);
  changed();
}

// ---- where things are

const pixelWorld = (file) => 256 * 2 ** file.pixel_zoom;
const toWorld = (lon, lat) => [lon / 360 + 0.5, 0.5 - Math.asinh(Math.tan(lat * Math.PI / 180)) / (2 * Math.PI)];
const toLonLat = (x, y) => [360 * (x - 0.5), Math.atan(Math.sinh(2 * Math.PI * (0.5 - y))) * 180 / Math.PI];
const size = () => [canvas.clientWidth || 1, canvas.clientHeight || 1];
const side = () => 256 * 2 ** state.zoom;  // of the world on the screen
const current = () => files.get(state.left).about;
const nativeZoom = () => (state.scheme === "map" ? current().native_zoom : current().pixel_zoom);

function extent() {
  const file = current();
  if (state.scheme === "pixels") return [0, 0, file.width / pixelWorld(file), file.height / pixelWorld(file)];
  const [west, south, east, north] = file.bounds;
  return [...toWorld(west, north), ...toWorld(east, south)];
}

function showWhole() {
  const [left, top, right, bottom] = extent(), [width, height] = size();
  state.zoom = Math.log2(Math.min(width / (right - left), height / (bottom - top)) * 0.96 / 256);
  state.x = (left + right) / 2; state.y = (top + bottom) / 2;
  changed();
}

function zoomTo(zoom, [px, py] = size().map((length) => length / 2)) {
  const [width, height] = size(), before = side();
  state.zoom = Math.min(Math.max(zoom, 0), nativeZoom() + 5);
  const shift = 1 / before - 1 / side();
  state.x += (px - width / 2) * shift; state.y += (py - height / 2) * shift;
  changed();
}

function moveBy(dx, dy) {
  state.x -= dx / side(); state.y -= dy / side();
  changed();
}

function worldAt(px, py) {
  const [width, height] = size();
  return [state.x + (px - width / 2) / side(), state.y + (py - height / 2) / side()];
}

// ---- tiles

function layerOf(name, minus = "") {
  const file = files.get(name), query = new URLSearchParams({ band: state.band });
  if (minus) {
    query.set("minus", minus); query.set("low", -state.limit); query.set("high", state.limit);
  } else {
    query.set("low", state.low); query.set("high", state.high);
  }
  const most = state.scheme === "map" ? Math.max(Math.ceil(file.about.native_zoom), 0) : file.about.pixel_zoom;
  const start = state.scheme === "map" ? file.url : `${file.url}/pixels`;
  return { most: Math.min(most, 24), address: (z, x, y) => `${start}/${z}/${x}/${y}.png?${query}` };
}

async function load() {
  while (fetching < AT_ONCE && wanted.length) {
    const address = wanted.shift();
    if (tiles.has(address)) continue;
    tiles.set(address, null);
    fetching += 1;
    picture(address).then((found) => tiles.set(address, found), (problem) => {
      tiles.set(address, false);
      tell(problem.message, true);
    }).finally(() => { fetching -= 1; redraw(); load(); });
  }
  while (tiles.size > MOST_TILES) tiles.delete(tiles.keys().next().value);
}

async function picture(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error((await answer.json()).error);
  return createImageBitmap(await answer.blob());
}

function drawLayer(layer, ratio) {
  const [width, height] = size();
  const z = Math.min(Math.max(Math.round(state.zoom + Math.log2(ratio)), 0), layer.most), count = 2 ** z;
  const tileSide = side() / count * ratio;
  const [left, top] = worldAt(0, 0), [right, bottom] = worldAt(width, height);
  const [first, last, low, high] = extent().filter((_, n) => n % 2 === 0).concat(extent().filter((_, n) => n % 2));
  pen.imageSmoothingEnabled = tileSide < 256;
  for (let y = Math.floor(Math.max(top, low) * count); y < Math.min(bottom, high) * count; y += 1)
    for (let x = Math.floor(Math.max(left, first) * count); x < Math.min(right, last) * count; x += 1) {
      const turned = ((x % count) + count) % count;  // beyond ±180°
      const place = [(x / count - left) * side() * ratio, (y / count - top) * side() * ratio];
      drawTile(layer, z, turned, y, place.map(Math.round), place.map((corner) => Math.round(corner + tileSide)));
    }
}

function drawTile(layer, z, x, y, start, end) {
  const address = layer.address(z, x, y), found = tiles.get(address);
  if (found === undefined) wanted.push(address);
  for (let up = 0; up <= z; up += 1) {  // the tile, else the part of a coarser one that is there already
    const there = tiles.get(layer.address(z - up, x >> up, y >> up));
    if (!there) continue;
    const part = 256 / 2 ** up;
    pen.drawImage(there, (x % 2 ** up) * part, (y % 2 ** up) * part, part, part,
                  start[0], start[1], end[0] - start[0], end[1] - start[1]);
    return;
  }
}

function redraw() {
  if (!drawing) drawing = requestAnimationFrame(draw);
}

function draw() {
  drawing = 0;
  if (!state.scheme) return;
  const ratio = window.devicePixelRatio || 1, [width, height] = size().map((length) => Math.round(length * ratio));
  if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
  pen.clearRect(0, 0, width, height);
  wanted = [];
  if (state.view === "difference") {
    drawLayer(layerOf(state.left, state.right), ratio);
  } else {
    const border = state.view === "swipe" ? Math.round(width * state.at) : width;
    clipped(0, border, height, () => drawLayer(layerOf(state.left), ratio));
    if (state.view === "swipe") clipped(border, width, height, () => drawLayer(layerOf(state.right), ratio));
  }
  drawScale();
  load();
  document.documentElement.dataset.idle = String(fetching === 0 && wanted.length === 0);
}

function clipped(left, right, height, work) {
  pen.save();
  pen.beginPath(); pen.rect(left, 0, right - left, height); pen.clip();
  work();
  pen.restore();
}

function drawScale() {
  let perPixel = 1, unit = "px";
  if (state.scheme === "map") {
    perPixel = 2 * Math.PI * 6378137 * Math.cos(toLonLat(state.x, state.y)[1] * Math.PI / 180) / side(); unit = "m";
  } else {
    perPixel = pixelWorld(current()) / side();
  }
  const most = perPixel * 120, power = 10 ** Math.floor(Math.log10(most));
  const length = [5, 2, 1].map((n) => n * power).find((n) => n <= most);
  const text = unit === "m" && length >= 1000 ? `${length / 1000} km` : `${+length.toPrecision(1)} ${unit}`;
  byId("scale").children[0].style.width = `${Math.round(length / perPixel)}px`;
  byId("scale").children[1].textContent = text;
}

// ---- controls

function shows(node, whether) { node.hidden = !whether; }

function fill(select, names, chosen) {
  select.replaceChildren(...names.map((name) => new Option(name, name, false, name === chosen)));
}

function changed() {
  for (const key of ["left", "right", "band"]) byId(key).value = state[key];
  for (const key of ["low", "high", "limit"])
    if (document.activeElement !== byId(key)) byId(key).value = +Number(state[key]).toFixed(2);
  for (const name of ["view", "scheme"])
    for (const radio of document.getElementsByName(name)) radio.checked = radio.value === state[name];
  const different = state.view === "difference";
  document.body.classList.toggle("difference", different);
  shows(byId("other"), state.view !== "one"); shows(byId("stretch"), !different); shows(byId("range"), different);
  shows(byId("divider"), state.view === "swipe"); shows(byId("right-name"), state.view === "swipe");
  const ends = different ? [-state.limit, state.limit] : [state.low, state.high];
  [byId("colours").firstChild, byId("colours").lastChild].forEach((node, n) => { node.textContent = signed(ends[n], 1) + " dB"; });
  byId("left-name").textContent = different ? `${state.left} − ${state.right}` : state.left;
  byId("right-name").textContent = state.right;
  byId("divider").style.left = `${100 * state.at}%`;
  byId("divider").setAttribute("aria-valuenow", String(Math.round(100 * state.at)));
  for (const button of document.querySelectorAll("#archive button"))
    button.setAttribute("aria-pressed", String(button.dataset.name === state.left));
  const kept = Object.entries(state).filter(([, value]) => value !== "" && value !== null);
  history.replaceState(null, "", `#${new URLSearchParams([...kept, ["own", ownStretch]])}`);
  redraw();
}

const signed = (value, digits) => (value < 0 ? "−" : "") + Math.abs(value).toFixed(digits);

function describe(file) {
  const said = { Size: `${file.width} × ${file.height}`, Quantity: file.quantity, CRS: file.crs ? file.crs.slice(0, 40) : "none" };
  if (file.bytes) said.File = `${file.bytes.toLocaleString("en")} bytes, ${file.bits_per_pixel.toFixed(3)} bits per pixel`;
  if (file.max_error_db) said.Guaranteed = `every pixel within ${file.max_error_db} dB`;
  byId("about").replaceChildren(...Object.entries(said).flatMap(([key, text]) => {
    const [name, value] = [document.createElement("dt"), document.createElement("dd")];
    name.textContent = key; value.textContent = text;
    return [name, value];
  }));
}

const comparable = (one, two) => (state.scheme === "map" ? two.bounds : one.width === two.width && one.height === two.height);

async function choose(name, keep = {}) {
  const turn = ++asked, file = await about(name), moved = state.left;
  const kept = keep.band || state.band, band = file.bands.includes(kept) ? kept : file.bands[0];
  const range = ownStretch && state.low !== null ? [state.low, state.high] : await stretch(name, band);
  if (turn !== asked) return;
  const before = files.get(state.left)?.about;
  state.left = name;
  const scheme = keep.scheme || state.scheme;
  state.scheme = file.bounds && scheme !== "pixels" ? "map" : "pixels";
  shows(byId("schemes"), Boolean(file.bounds));
  state.band = band;
  fill(byId("band"), file.bands, state.band);
  [state.low, state.high] = range;
  describe(file);
  const apart = !before || (state.scheme === "map" ? !overlaps(before.bounds, file.bounds) : !comparable(before, file));
  if (state.view !== "one") await check();
  if (turn !== asked) return;
  if (moved !== name && apart && keep.zoom === undefined) showWhole(); else changed();
}

const overlaps = (a, b) => a && b && a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];

async function check() {  // that there is something beside the image
  const names = [...files.keys()].filter((name) => name !== state.left);
  if (!names.includes(state.right)) state.right = names[0] || "";
  fill(byId("right"), names, state.right);
  const other = state.right && await about(state.right);
  if (!other || !comparable(current(), other)) {
    tell(other ? `${state.right} cannot lie beside ${state.left}: ${other.bounds ? "their sizes differ" : "it has no place on a map"}`
               : "there is no second file", true);
    state.view = "one";
  } else {
    tell("");
  }
}

function list() {
  shows(byId("archive"), files.size > 1);
  byId("archive").querySelector("ul").replaceChildren(...[...files.values()].map((file) => {
    const item = document.createElement("li"), button = document.createElement("button");
    const image = document.createElement("img"), name = document.createElement("span");
    Object.assign(image, { src: `${file.url}/quicklook.png`, loading: "lazy", alt: "" });
    name.textContent = button.title = button.dataset.name = file.name;
    button.type = "button"; button.append(image, name); item.append(button);
    button.addEventListener("click", () => choose(file.name).catch((problem) => tell(problem.message, true)));
    return item;
  }));
}

// ---- values under the pointer

let waiting = 0, valued = 0;

function point(event) {
  clearTimeout(waiting);
  const box = canvas.getBoundingClientRect(), [x, y] = worldAt(event.clientX - box.left, event.clientY - box.top);
  waiting = setTimeout(() => values(x, y).catch((problem) => tell(problem.message, true)), 60);
}

async function values(x, y) {
  const turn = ++valued, names = state.view === "one" ? [state.left] : [state.left, state.right];
  const world = pixelWorld(current()), [lon, lat] = toLonLat(x, y);
  const query = state.scheme === "map" ? `lon=${lon}&lat=${lat}` : `row=${y * world}&column=${x * world}`;
  const found = await Promise.all(names.map((name) => json(`${files.get(name).url}/value?${query}`)));
  if (turn !== valued) return;
  const row = (kind, cells) => {
    const line = document.createElement("tr");
    line.append(...cells.map((text) => Object.assign(document.createElement(kind), { textContent: text, title: text })));
    return line;
  };
  const place = found[0].row === null ? "outside" : `row ${found[0].row}, column ${found[0].column}`;
  const where = state.scheme === "map" ? `${signed(lat, 5)}°, ${signed(lon, 5)}°; ${place}` : place;
  byId("values").caption.textContent = `Under the pointer: ${where}`;
  const heads = names.length > 1 ? ["dB", "left", "right", "difference"] : ["", "dB", found[0].quantity === "db" ? "" : found[0].quantity];
  byId("values").tHead.replaceChildren(row("th", heads));
  byId("values").tBodies[0].replaceChildren(...Object.entries(found[0].bands).map(([band, here]) => {
    const text = (value) => (value === null || value === undefined ? "–" : signed(value, 2));
    if (names.length === 1) return row("td", [band, text(here.db), found[0].quantity === "db" || here.value === null ? "" : String(+here.value.toPrecision(5))]);
    const there = found[1].bands[band] || Object.values(found[1].bands)[Object.keys(found[0].bands).indexOf(band)] || { db: null };
    const gap = here.db === null || there.db === null ? null : here.db - there.db;
    return row("td", [band, text(here.db), text(there.db), text(gap)]);
  }));
}

// ---- hands on it

const pointers = new Map();

canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, [event.clientX, event.clientY]);
  canvas.classList.add("moving");
});
canvas.addEventListener("pointermove", (event) => {
  const last = pointers.get(event.pointerId), here = [event.clientX, event.clientY];
  if (!last) { point(event); return; }
  pointers.set(event.pointerId, here);
  if (pointers.size === 1) { moveBy(here[0] - last[0], here[1] - last[1]); return; }
  const other = [...pointers].find(([id]) => id !== event.pointerId)[1], box = canvas.getBoundingClientRect();
  const apart = (place) => Math.hypot(place[0] - other[0], place[1] - other[1]) || 1;
  zoomTo(state.zoom + Math.log2(apart(here) / apart(last)), [(here[0] + other[0]) / 2 - box.left, (here[1] + other[1]) / 2 - box.top]);
});
for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, (event) => {
  pointers.delete(event.pointerId);
  canvas.classList.toggle("moving", pointers.size > 0);
});
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  const step = event.deltaY * (event.deltaMode === 1 ? 16 : 1) / 300;
  zoomTo(state.zoom - Math.min(Math.max(step, -1), 1), [event.offsetX, event.offsetY]);
  point(event);
}, { passive: false });
canvas.addEventListener("dblclick", (event) => zoomTo(state.zoom + 1, [event.offsetX, event.offsetY]));
canvas.addEventListener("keydown", (event) => {
  const steps = { ArrowLeft: [80, 0], ArrowRight: [-80, 0], ArrowUp: [0, 80], ArrowDown: [0, -80] };
  if (steps[event.key]) moveBy(...steps[event.key]);
  else if (event.key === "+" || event.key === "=") zoomTo(state.zoom + 0.5);
  else if (event.key === "-") zoomTo(state.zoom - 0.5);
  else return;
  event.preventDefault();
});

const divider = byId("divider");
function divide(at) { state.at = Math.min(Math.max(at, 0), 1); changed(); }
divider.addEventListener("pointerdown", (event) => divider.setPointerCapture(event.pointerId));
divider.addEventListener("pointermove", (event) => {
  const box = canvas.getBoundingClientRect();
  if (divider.hasPointerCapture(event.pointerId)) divide((event.clientX - box.left) / box.width);
});
divider.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -0.02, ArrowRight: 0.02 }[event.key];
  if (step) { event.preventDefault(); divide(state.at + step); }
});

const guarded = (work) => (event) => Promise.resolve(work(event.target)).catch((problem) => tell(problem.message, true));
byId("left").addEventListener("change", guarded((node) => choose(node.value)));
byId("right").addEventListener("change", guarded(async (node) => { state.right = node.value; await check(); changed(); }));
byId("band").addEventListener("change", guarded((node) => { state.band = node.value; return ownRange(); }));
for (const radio of document.getElementsByName("view"))
  radio.addEventListener("change", guarded(async (node) => { state.view = node.value; if (state.view !== "one") await check(); changed(); }));
for (const radio of document.getElementsByName("scheme"))
  radio.addEventListener("change", guarded(async (node) => { state.scheme = node.value; if (state.view !== "one") await check(); showWhole(); }));
for (const key of ["low", "high", "limit"]) byId(key).addEventListener("change", guarded((node) => {
  const tried = { ...state, [key]: Number(node.value) };
  if (node.value === "" || !(tried.low < tried.high) || !(tried.limit > 0)) {
    tell("black must be below white, and the ends of the colours above 0", true); node.value = state[key]; return;
  }
  tell(""); state[key] = tried[key]; ownStretch ||= key !== "limit"; changed();
}));
byId("auto").addEventListener("click", guarded(ownRange));
byId("whole").addEventListener("click", showWhole);
byId("native").addEventListener("click", () => zoomTo(nativeZoom() - Math.log2(window.devicePixelRatio || 1)));
byId("find").addEventListener("input", (event) => {
  for (const item of byId("archive").querySelectorAll("li"))
    shows(item, item.textContent.toLowerCase().includes(event.target.value.toLowerCase()));
});
new ResizeObserver(redraw).observe(canvas);

async function begin() {
  for (const file of (await json("/info")).files) files.set(file.name, file);
  const names = [...files.keys()], original = [...files.values()].find((file) => file.kind === "original");
  fill(byId("left"), names, names[0]);
  list();
  const said = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  for (const key of ["low", "high", "limit", "x", "y", "zoom", "at"])
    if (said[key] !== undefined && Number.isFinite(Number(said[key]))) state[key] = Number(said[key]);
  ownStretch = said.own === "true" && state.low < state.high;
  state.right = said.right || original?.name || names[1] || "";
  state.view = ["one", "swipe", "difference"].includes(said.view) ? said.view : original ? "swipe" : "one";
  await choose(names.includes(said.left) ? said.left : names[0], { scheme: said.scheme, band: said.band, zoom: said.zoom });
}

begin().catch((problem) => tell(problem.message, true));
