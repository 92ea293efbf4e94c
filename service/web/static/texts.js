// Every text of the page, in English and in Korean: one table, so that none can be missing in one of them.
//
// {name} is a value; {name|one|many} chooses by a number in English. t("write.length", { count: 3 })

const TABLE = {
  // ── the shell
  "nav.views": ["Views", "보기"],
  "nav.write": ["Write", "쓰기"],
  "nav.teach": ["Teach", "가르치기"],
  "nav.inside": ["Look inside", "들여다보기"],
  "shell.skip": ["To the content", "본문으로"],
  "shell.theme.auto": ["Appearance: as the system has it", "화면: 시스템 설정대로"],
  "shell.theme.light": ["Appearance: light", "화면: 밝게"],
  "shell.theme.dark": ["Appearance: dark", "화면: 어둡게"],
  "shell.training": ["{name} is learning", "{name} 학습 중"],
  "shell.first": ["The first model", "첫 모델"],
  "shell.unreachable": ["The service does not answer. The page tries again every few seconds.", "서비스가 응답하지 않습니다. 몇 초마다 다시 시도합니다."],
  "shell.docs": ["For programs", "프로그램용 API"],
  "shell.health": ["State of the service", "서비스 상태"],
  "key.title": ["This service asks for a key", "이 서비스는 키가 필요합니다"],
  "key.why": [
    "It was printed when the service was started for the first time. Whoever runs it can make another with: charloom key new",
    "서비스를 처음 시작할 때 출력된 키입니다. 운영자는 charloom key new 명령으로 새로 만들 수 있습니다.",
  ],
  "key.key": ["Key", "키"],
  "key.enter": ["Enter", "들어가기"],
  cancel: ["Cancel", "취소"],
  close: ["Close", "닫기"],
  copy: ["Copy", "복사"],
  "copy.byhand": ["The browser does not let this page copy; copy it by hand", "브라우저가 복사를 허용하지 않습니다. 직접 복사하세요"],
  "copy.text": ["To be copied", "복사할 내용"],
  "error.unreachable": ["The service does not answer. Is it still running?", "서비스가 응답하지 않습니다. 아직 실행 중인가요?"],
  "error.cut": ["The connection was cut.", "연결이 끊어졌습니다."],
  "error.status": ["The service answered with the status {status}.", "서비스가 상태 코드 {status}(으)로 응답했습니다."],
  "error.key.characters": [
    "A key has only Latin letters, digits and signs; perhaps the keyboard is set to another language.",
    "키는 로마자와 숫자, 기호로만 되어 있습니다. 한/영 상태를 확인하세요.",
  ],
  "error.key": ["This service asks for a key.", "이 서비스는 키가 필요합니다."],
  "error.view": ["This part of the page could not be loaded: {message}", "이 화면을 불러오지 못했습니다: {message}"],
  "unit.s": ["{value} s", "{value}초"],
  "unit.min": ["{value} min", "{value}분"],
  "unit.h": ["{value} h", "{value}시간"],
  "text.keys": ["Arrow keys walk through the characters.", "화살표 키로 글자를 하나씩 살펴볼 수 있습니다."],
  "char.newline": ["line end", "줄바꿈"],
  "char.space": ["space", "띄어쓰기"],
  "char.tab": ["tab", "탭"],
  "char.nbsp": ["fixed space", "고정 공백"],

  // ── Write
  "write.model": ["Model", "모델"],
  "write.checkpoint": ["Checkpoint", "체크포인트"],
  "write.best": ["best", "가장 좋은 것"],
  "write.last": ["last", "마지막"],
  "write.step": ["step {count}", "{count}단계"],
  "write.named": ["{name}, {count}", "{name}, {count}"],
  "write.learning": ["learning", "학습 중"],
  "write.parameters": ["{count} parameters", "매개변수 {count}개"],
  "write.mean": ["{bits} bits per character", "글자당 {bits}비트"],
  "write.corpus": ["has read {name}", "{name}을(를) 읽음"],
  "write.prompt": ["Prompt", "시작 글"],
  "write.prompt.empty": ["The beginning of a text; empty starts a new line", "글의 첫머리. 비워 두면 새 줄에서 시작합니다"],
  "write.write": ["Write", "쓰기"],
  "write.halt": ["Stop", "멈춤"],
  "write.on": ["Keep writing", "계속 쓰기"],
  "write.on.label": ["Keep writing until you stop it", "멈출 때까지 계속 쓰기"],
  "write.more": ["More settings", "더 많은 설정"],
  "write.length": ["Length, in characters", "길이(글자)"],
  "write.seed": ["Seed", "시드"],
  "write.seed.new": ["new each time", "매번 새로"],
  "write.off": ["off", "사용 안 함"],
  "write.topk": ["only the k likeliest", "확률이 높은 k개만"],
  "write.topp": ["only the likeliest, up to p in sum", "누적 확률 p까지만"],
  "write.minp": ["only from p of the likeliest on", "최고 확률의 p배 이상만"],
  "write.stop": ["Stop before", "이 글자열 앞에서 멈춤"],
  "write.stop.hint": ["One a line, four at most; \\n stands for a line end", "한 줄에 하나씩, 최대 네 개. \\n은 줄바꿈입니다"],
  "write.temperature": ["Temperature", "온도"],
  "write.safe": ["safe", "안전하게"],
  "write.learned": ["as learned", "배운 대로"],
  "write.wild": ["wild", "거칠게"],
  "write.text": ["The text", "글"],
  "write.text.of": ["Text {number} of {count}", "글 {count}개 중 {number}번째"],
  "write.hint": [
    "Press Write. You can move the temperature while the text comes, and point at a character to see what else the model thought of.",
    "쓰기를 누르세요. 글이 나오는 동안 온도를 바꿀 수 있고, 글자를 가리키면 모델이 생각한 다른 글자를 볼 수 있습니다.",
  ],
  "write.slowly": ["Slowly", "천천히"],
  "write.tint": ["Tint by surprise", "놀라움으로 색칠"],
  "write.scale": ["7+ bits", "7+ 비트"],
  "write.scale.label": ["Scale of surprise: from pale, expected, to strong, 7 bits or more", "놀라움의 척도: 옅으면 예상한 글자, 짙으면 7비트 이상"],
  "write.add": ["Another temperature", "다른 온도 추가"],
  "write.remove": ["Remove this text", "이 글 없애기"],
  "write.halt.this": ["Stop this text", "이 글 멈춤"],
  "write.writing": ["Writing …", "쓰는 중 …"],
  "write.copy": ["Copy", "복사"],
  "write.copied": ["The text is copied.", "글을 복사했습니다."],
  "write.save": ["Download", "내려받기"],
  "write.again": ["Again with this seed", "이 시드로 다시"],
  "write.link": ["Link", "링크"],
  "write.linked": [
    "The link is copied. It writes exactly this text; the checkpoint {checkpoint} is kept for it.",
    "링크를 복사했습니다. 똑같은 글을 다시 씁니다. 이를 위해 체크포인트 {checkpoint}을(를) 보관합니다.",
  ],
  "write.seed.was": ["seed {seed}", "시드 {seed}"],
  "write.seed.kept": ["Seed {seed} stays until you empty its field.", "시드 {seed}은(는) 칸을 비울 때까지 유지됩니다."],
  "write.characters": ["{count} {count|character|characters}", "{count}글자"],
  "write.speed": ["{speed} per second", "초당 {speed}글자"],
  "write.moves": ["temperature moved {count} {count|time|times}", "온도 {count}번 변경"],
  "write.stopped": ["stopped", "멈춤"],
  "write.ended": ["ended before a stop string", "멈춤 글자열 앞에서 끝남"],
  "write.truncated": ["only the end of the prompt was read", "시작 글의 끝부분만 읽음"],
  "write.substituted": ["{character} was read as {by}", "{character}은(는) {by}(으)로 읽음"],
  "write.unknown": ["{character} is unknown to the model", "{character}은(는) 모델이 모르는 글자"],
  "write.slowly.long": ["A text this long comes as fast as it is written.", "이렇게 긴 글은 쓰는 대로 바로 나옵니다."],
  "write.link.broken": ["This link is not whole, so nothing is written.", "링크가 온전하지 않아 아무것도 쓰지 않았습니다."],
  "write.bits": ["{bits} bits", "{bits}비트"],
  "write.spoken": ["{character}, {bits} bits; otherwise: {others}", "{character}, {bits}비트. 다른 후보: {others}"],
  "write.nothing": ["nothing else", "없음"],
  "write.only.copies": ["ended: whatever could follow would have been copied", "끝남: 이어질 수 있는 것은 모두 베낀 것이 됨"],
  "write.max_copy": ["Copy at most", "최대 연속 복사"],
  "write.max_copy.hint": ["characters in a row from the corpus", "말뭉치에서 연달아 베끼는 글자 수"],
  "copied.mark": ["Underline what is copied", "베낀 부분에 밑줄"],
  "copied.unknown": ["Its corpus is not stored here, so nobody can tell what is copied.", "이 모델의 말뭉치가 여기 없어 베낀 부분을 알 수 없습니다."],
  "copied.looking": ["Comparing with {corpus} …", "{corpus}와(과) 견주는 중 …"],
  "copied.none": ["Nothing of it stands in {corpus}.", "{corpus}에 있는 부분이 없습니다."],
  "copied.little": [
    "New: nothing of {least} characters or more in a row stands in {corpus}; the longest in common has {length}.",
    "새로운 글입니다. {corpus}와(과) {least}글자 이상 이어서 같은 곳이 없습니다. 가장 긴 것은 {length}글자입니다.",
  ],
  "copied.much": [
    "{share} is copied from {corpus}, in spans of {least} characters or more; the longest has {length} (line {line}, {times} {times|time|times} there).",
    "{share}가 {corpus}에서 {least}글자 이상 이어서 베낀 것입니다. 가장 긴 것은 {length}글자입니다({line}번째 줄, {times}번 나옴).",
  ],
  "copied.lines": ["{fresh} of {count} lines are new.", "{count}줄 가운데 {fresh}줄이 새것입니다."],
  "copied.known": ["Known: {names}", "이미 있는 것: {names}"],
  "copied.where": ["{count} copied {count|span|spans}", "베낀 곳 {count}군데"],
  "copied.span": ["copied: {length} characters, line {line}", "베낌: {length}글자, {line}번째 줄"],
  "copied.go": ["Show it in the text", "글에서 보기"],
  "write.none": ["There is no model yet", "아직 모델이 없습니다"],
  "write.none.text": ["Give Charloom a text of your own, and watch it learn to write like it.", "글을 주면 그것처럼 쓰는 법을 배웁니다."],
  "write.none.teach": ["Teach a model", "모델 가르치기"],
  "write.none.learning": ["{name} is learning", "{name} 학습 중"],
  "write.none.wait": ["It can write as soon as its first checkpoint is stored. {share}", "첫 체크포인트가 저장되면 바로 쓸 수 있습니다. {share}"],
  "write.none.watch": ["Watch it learn", "배우는 모습 보기"],
};

export const LANGUAGES = { en: "English", ko: "한국어" };
export const language = document.documentElement.lang in LANGUAGES ? document.documentElement.lang : "en"; // early.js has set it
const column = Object.keys(LANGUAGES).indexOf(language);

// Further texts, of a view that is not the first one and is loaded later
export const also = (texts) => Object.assign(TABLE, texts);

// The text of that name, or `otherwise` where this language has none, as for what the service itself says in English
export const translated = (name, otherwise) => TABLE[name]?.[column] ?? otherwise;

// Raises where there is no such text, so that a slip does not go unseen.
export function t(name, values = {}) {
  const text = TABLE[name]?.[column];
  if (text === undefined) throw new Error(`there is no text ${name}`);
  return text.replace(/\{(\w+)(?:\|([^|}]*)\|([^}]*))?\}/g, (_, value, one, many) =>
    one === undefined ? said(values[value]) : values[value] === 1 ? one : many,
  );
}

const said = (value) => (typeof value === "number" ? value.toLocaleString(language) : String(value));
