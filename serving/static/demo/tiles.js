// A drawn tile for every product: what kind of thing it is, in the colours of its kind.

// [words of the category or name, picture, palette]; the first that fits is taken
const KINDS = [
  [/pizza/, 'pizza', 'red'], [/ice cream|sherbet|novelt/, 'cone', 'pink'], [/egg/, 'egg', 'amber'],
  [/cheese/, 'cheese', 'amber'], [/yogurt|sour cream|pudding/, 'cup', 'blue'],
  [/milk|cream|butter|margarin|dairy/, 'carton', 'blue'],
  [/bun|bread|roll|bagel|dough|tortilla|toast|bakery/, 'loaf', 'amber'],
  [/cake|donut|pie|sweet good|breakfast sweet|pastr|muffin/, 'cake', 'pink'],
  [/cookie|cone/, 'cookie', 'amber'], [/banana|tropical/, 'banana', 'amber'],
  [/carrot/, 'carrot', 'orange'], [/berr|grape|cherr/, 'berries', 'red'],
  [/tomato|pepper/, 'tomato', 'red'], [/apple|fruit|citrus|orange|melon|peach|pear|plum/, 'apple', 'red'],
  [/potato|onion/, 'potato', 'amber'],
  [/canned|shelf stable|soup|cat food|dog food/, 'can', 'green'],
  [/veg|salad|lettuce|herb|broccoli|celery|cucumber|mushroom|produce|organic/, 'leaf', 'green'],
  [/pet|cat |dog /, 'paw', 'amber'], [/fish|seafood|shrimp|salmon|tuna/, 'fish', 'teal'],
  [/chicken|turkey|poultry/, 'leg', 'orange'], [/sausage|hot dog|bacon|lunchmeat|deli meat|ham/, 'sausage', 'red'],
  [/beef|pork|meat|lamb|veal/, 'steak', 'red'],
  [/coffee|tea|cocoa/, 'mug', 'amber'], [/beer|ale|wine|liquor|spirit/, 'glass', 'violet'],
  [/soft drink|drink|juice|water|isotonic|soda/, 'bottle', 'orange'],
  [/cereal|pasta|noodle|rice|mix|dinner|flour|sugar|oat/, 'box', 'violet'],
  [/candy|chocolate|gum/, 'candy', 'pink'], [/snack|chip|cracker|pretzel|popcorn|nut/, 'bag', 'violet'],
  [/frozen|frzn/, 'flake', 'blue'], [/sauce|condiment|spice|dressing|jam|jell|peanut|pickle|baby food|syrup|honey|oil/, 'jar', 'orange'],
  [/tissue|towel|napkin|paper|diaper|wrap/, 'roll', 'teal'],
  [/deterg|clean|soap|laundry|bleach|hair|shampoo|oral|shav|deodor|skin|hand/, 'pump', 'teal'],
  [/flower|floral|plant|garden|bouquet/, 'flower', 'pink'],
  [/cosmetic|make|lip|nail|beaut|fragran/, 'lipstick', 'pink'],
  [/magazine|card|book|stationer|school/, 'book', 'violet'],
  [/vitamin|diet|cold|pain|medic|health|first aid|antacid|drug/, 'pill', 'teal'],
];

// Shapes on 96 × 96; class a: the main colour, b: the light one, c: the accent, l: a line
const PICTURES = {
  pizza: '<path class="a" d="M48 84 18 28q30-16 60 0z"/><path class="b" d="M48 74 25 33q23-11 46 0z"/><circle class="c" cx="42" cy="40" r="5"/><circle class="c" cx="57" cy="43" r="5"/><circle class="c" cx="48" cy="57" r="5"/>',
  cone: '<path class="c" d="M32 48h32L48 86z"/><circle class="b" cx="38" cy="42" r="12"/><circle class="a" cx="58" cy="42" r="12"/><circle class="b" cx="48" cy="28" r="13"/>',
  egg: '<path class="b" d="M40 26c10 0 18 18 18 30a18 18 0 0 1-36 0c0-12 8-30 18-30z"/><path class="a" d="M60 38c8 0 15 14 15 24a15 15 0 0 1-30 0c0-10 7-24 15-24z"/>',
  cheese: '<path class="b" d="M16 54 66 26q14 6 14 28z"/><path class="a" d="M16 54h64v20H16z"/><circle class="c" cx="34" cy="64" r="5"/><circle class="c" cx="56" cy="65" r="4"/><circle class="c" cx="60" cy="44" r="5"/>',
  cup: '<path class="a" d="M28 36h40l-5 46H33z"/><path class="b" d="M24 28h48v9H24z"/><path class="c" d="M31 50h34l-2 16H33z"/>',
  carton: '<path class="b" d="M34 34 42 20h20l-6 14z"/><path class="a" d="M30 36h28v48H30z"/><path class="c" d="M58 36l8-14v54l-8 8z"/><path class="b" d="M36 52h16v18H36z"/>',
  loaf: '<path class="a" d="M18 44c0-16 60-16 60 0 0 6-4 8-4 8v26H22V52s-4-2-4-8z"/><path class="b" d="M26 45c0-9 44-9 44 0 0 5-4 5-4 9v16H30V54c0-4-4-4-4-9z"/>',
  cake: '<path class="c" d="M26 52h44l-6 32H32z"/><path class="a" d="M22 52c-4-10 6-14 10-14 2-12 30-12 32 0 6 0 14 6 10 14z"/><circle class="b" cx="48" cy="26" r="6"/><path class="l" d="M40 58l2 20M56 58l-2 20"/>',
  cookie: '<circle class="a" cx="48" cy="52" r="28"/><circle class="c" cx="38" cy="44" r="5"/><circle class="c" cx="56" cy="42" r="4"/><circle class="c" cx="60" cy="60" r="5"/><circle class="c" cx="42" cy="64" r="4"/><circle class="b" cx="50" cy="53" r="3"/>',
  banana: '<path class="a" d="M66 18c6 26-6 54-40 58-6 0-8 4-4 6 38 8 62-24 52-64z"/><path class="b" d="M68 26c4 24-6 44-34 52 28-2 44-26 38-52z"/><path class="c" d="M64 14h10v9h-8z"/>',
  carrot: '<path class="a" d="M24 82c2-22 16-42 30-44 8 2 10 8 8 14-6 14-20 26-38 30z"/><path class="c" d="M56 38c-4-12 0-18 6-22 4 8 3 14 0 20 8-6 14-6 20-4-4 8-12 12-20 12z"/><path class="l" d="M38 58l8 4M32 68l6 3"/>',
  berries: '<circle class="a" cx="36" cy="48" r="12"/><circle class="a" cx="58" cy="48" r="12"/><circle class="c" cx="47" cy="62" r="12"/><circle class="b" cx="33" cy="45" r="3"/><circle class="b" cx="55" cy="45" r="3"/><circle class="b" cx="44" cy="59" r="3"/><path class="l" d="M36 38c4-10 8-14 14-18M58 38c-2-8-4-12-8-18"/>',
  tomato: '<circle class="a" cx="48" cy="56" r="27"/><path class="c" d="M48 22l4 10 14-2-10 10 6 8-14-6-14 6 6-8-10-10 14 2z"/><path class="b" d="M30 56c0-8 4-12 8-14-2 8-2 16 0 22-6-2-8-4-8-8z"/>',
  apple: '<path class="a" d="M48 38c-10-8-28-4-26 18 2 16 14 28 22 27 3-1 5-1 8 0 8 1 20-11 22-27 2-22-16-26-26-18z"/><path class="c" d="M50 34c0-10 8-16 16-16 0 10-6 16-16 16z"/><path class="b" d="M30 54c0-6 4-10 8-10-4 6-4 12-2 18-4 0-6-4-6-8z"/>',
  potato: '<path class="a" d="M26 44c6-18 40-24 48-4 6 18-8 40-30 40-18 0-26-16-18-36z"/><circle class="c" cx="44" cy="46" r="3"/><circle class="c" cx="60" cy="52" r="3"/><circle class="c" cx="44" cy="66" r="3"/><path class="b" d="M34 46c4-8 12-12 18-12-8 4-12 8-14 14z"/>',
  can: '<path class="a" d="M26 28h44v48c0 10-44 10-44 0z"/><ellipse class="b" cx="48" cy="28" rx="22" ry="7"/><path class="c" d="M26 42c0 8 44 8 44 0v20c0 8-44 8-44 0z"/><circle class="b" cx="48" cy="56" r="8"/>',
  leaf: '<path class="a" d="M22 76c-8-34 16-56 56-54 2 40-20 62-50 52z"/><path class="b" d="M30 68c4-20 16-32 38-38-4 22-18 36-38 38z"/><path class="l" d="M18 84c12-20 24-34 48-48"/>',
  paw: '<ellipse class="a" cx="48" cy="62" rx="18" ry="15"/><circle class="a" cx="26" cy="48" r="8"/><circle class="c" cx="40" cy="34" r="8"/><circle class="c" cx="58" cy="34" r="8"/><circle class="a" cx="70" cy="48" r="8"/>',
  fish: '<path class="a" d="M14 50c16-26 40-26 54-4l16-12c-4 10-4 22 0 32L68 54c-14 22-38 22-54-4z"/><path class="b" d="M22 50c10-14 24-18 36-10-10 2-18 8-20 16-8 0-12-2-16-6z"/><circle class="c" cx="30" cy="46" r="3"/>',
  leg: '<path class="a" d="M30 28c16-14 40-4 42 16 2 16-12 26-26 24L34 80l-8-8 10-12C22 52 20 38 30 28z"/><path class="b" d="M26 72l8 8-4 6c-4 2-8 0-8-4-4 0-6-4-4-8z"/><path class="c" d="M42 30c10-4 20 2 22 12-6-6-14-10-22-12z"/>',
  sausage: '<path class="a" d="M20 34c-6 26 20 50 48 44 12-4 10-20-2-18-16 2-28-8-28-26 0-14-16-14-18 0z"/><path class="b" d="M26 36c0 20 16 34 38 34-26 6-42-14-38-34z"/><path class="l" d="M68 80l6 6M22 26l-4-8"/>',
  steak: '<path class="a" d="M18 52c0-24 26-32 44-28 16 4 20 20 14 32-8 18-28 26-44 24-8-2-14-14-14-28z"/><path class="b" d="M28 52c0-16 18-22 32-18 10 2 12 12 8 20-6 12-20 18-30 16-6 0-10-8-10-18z"/><circle class="c" cx="46" cy="50" r="8"/><circle class="b" cx="46" cy="50" r="3.5"/>',
  mug: '<path class="a" d="M22 38h40v32c0 8-6 12-12 12H34c-6 0-12-4-12-12z"/><path class="l" d="M62 46c16-4 16 20 0 18"/><ellipse class="c" cx="42" cy="38" rx="20" ry="5"/><path class="l" d="M34 28c-4-6 4-8 0-14M48 28c-4-6 4-8 0-14"/>',
  glass: '<path class="b" d="M32 16h32c4 26-2 38-16 40-14-2-20-14-16-40z"/><path class="a" d="M31 32h34c0 14-6 22-17 24-11-2-17-10-17-24z"/><path class="c" d="M45 56h6v20h12v6H33v-6h12z"/>',
  bottle: '<path class="c" d="M41 14h14v10H41z"/><path class="a" d="M42 26h12c0 12 12 12 12 26v26c0 6-36 6-36 0V52c0-14 12-14 12-26z"/><path class="b" d="M30 52h36v18H30z"/><circle class="c" cx="48" cy="61" r="6"/>',
  box: '<path class="a" d="M28 24h36v60H28z"/><path class="c" d="M64 24l8 6v54h-8z"/><circle class="b" cx="46" cy="56" r="13"/><path class="b" d="M34 31h24v7H34z"/><path class="c" d="M37 56h18c0 12-18 12-18 0z"/>',
  candy: '<path class="c" d="M30 50 14 38v24zM66 50l16-12v24z"/><circle class="a" cx="48" cy="50" r="20"/><path class="b" d="M36 38c6 6 6 18 0 24M60 38c-6 6-6 18 0 24" /><circle class="b" cx="48" cy="50" r="6"/>',
  bag: '<path class="a" d="M26 20h44l-3 8c5 18 5 32 0 48l3 8H26l3-8c-5-16-5-30 0-48z"/><circle class="b" cx="48" cy="52" r="15"/><path class="c" d="M40 58c2-10 10-14 16-14 0 8-6 14-16 14z"/>',
  flake: '<circle class="b" cx="48" cy="50" r="30"/><path class="l" d="M48 26v48M27 38l42 24M69 38 27 62M42 30l6 6 6-6M42 70l6-6 6 6"/>',
  jar: '<path class="c" d="M32 20h32v11H32z"/><path class="a" d="M30 32h36c6 6 6 8 6 14v30c0 8-48 8-48 0V46c0-6 0-8 6-14z"/><path class="b" d="M24 50h48v20H24z"/><circle class="c" cx="48" cy="60" r="6"/>',
  roll: '<path class="a" d="M38 30h34c8 0 8 44 0 44H38z"/><ellipse class="b" cx="37" cy="52" rx="15" ry="22"/><ellipse class="c" cx="37" cy="52" rx="5" ry="8"/><path class="b" d="M60 74h16v12H56z"/>',
  pump: '<path class="c" d="M44 16h20v6H52v12h-8z"/><path class="a" d="M34 34h28c6 6 8 12 8 20v24c0 8-44 8-44 0V54c0-8 2-14 8-20z"/><path class="b" d="M48 46c8 10 10 14 10 18a10 10 0 0 1-20 0c0-4 2-8 10-18z"/>',
  flower: '<path class="l" d="M48 56v30M48 76c-8 0-12-4-14-10M48 70c8 0 12-4 14-10"/><circle class="a" cx="48" cy="24" r="10"/><circle class="a" cx="64" cy="36" r="10"/><circle class="a" cx="58" cy="54" r="10"/><circle class="a" cx="38" cy="54" r="10"/><circle class="a" cx="32" cy="36" r="10"/><circle class="b" cx="48" cy="41" r="9"/>',
  lipstick: '<path class="a" d="M40 42V26c0-4 12-10 16-10v26z"/><path class="b" d="M37 42h22v14H37z"/><path class="c" d="M33 56h30v28H33z"/>',
  book: '<path class="a" d="M20 26c12-4 22-2 28 4v50c-6-6-16-8-28-4z"/><path class="c" d="M76 26c-12-4-22-2-28 4v50c6-6 16-8 28-4z"/><path class="l" d="M28 38c6-1 10 0 14 2M28 50c6-1 10 0 14 2"/>',
  pill: '<rect class="a" x="20" y="34" width="40" height="22" rx="11" transform="rotate(-30 40 45)"/><path class="b" d="M40 45l17-10a11 11 0 0 0-15-8l-12 7z" transform="rotate(0)"/><circle class="c" cx="62" cy="64" r="16"/><path class="l" d="M51 64h22"/>',
  basket: '<path class="l" d="M30 44 42 20M66 44 54 20"/><path class="a" d="M18 42h60l-8 40H26z"/><path class="b" d="M16 38h64v10H16z"/><path class="l" d="M38 56v18M48 56v18M58 56v18"/>',
};

const SPACE = 'http://www.w3.org/2000/svg';

export function tile(product, size) {
  const words = [product.category_name, product.name, product.department_name].map((word) => String(word || '').toLowerCase());
  const kind = KINDS.find(([fits]) => fits.test(words[0])) || KINDS.find(([fits]) => fits.test(words[1])) ||
    KINDS.find(([fits]) => fits.test(words[2])) || [null, 'basket', 'green'];
  const svg = document.createElementNS(SPACE, 'svg');
  const set = (element, facts) => Object.entries(facts).forEach(([name, value]) => element.setAttribute(name, value));
  set(svg, { class: `tile ${kind[2]} ${size || ''}`, viewBox: '0 0 96 96', 'aria-hidden': 'true', focusable: 'false' });
  let seed = 0;
  for (const letter of String(product.item_id)) seed = (seed * 31 + letter.charCodeAt(0)) % 9973;
  const halo = document.createElementNS(SPACE, 'circle');
  set(halo, { class: 'halo', cx: 20 + (seed % 57), cy: 18 + (seed % 61), r: 34 + (seed % 13) });
  const group = document.createElementNS(SPACE, 'g');
  set(group, { transform: `translate(48 50) scale(.68) rotate(${(seed % 9) - 4}) translate(-48 -50)` });
  draw(group, PICTURES[kind[1]], set);
  svg.append(halo, group);
  return svg;
}

// The pictures are written as markup, because it is short, and read by hand: no HTML is ever parsed here.
function draw(group, picture, set) {
  for (const [, tag, facts] of picture.matchAll(/<(\w+) ([^>]*?)\s*\/>/g)) {
    const shape = document.createElementNS(SPACE, tag);
    set(shape, Object.fromEntries([...facts.matchAll(/([\w-]+)="([^"]*)"/g)].map(([, name, value]) => [name, value])));
    group.append(shape);
  }
}
