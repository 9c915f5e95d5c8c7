// The labelers' page. What a labeler writes is kept in this browser (localStorage) from the first letter until the server
// has said that it is saved. Texts of items become text nodes only, never part of the page.
"use strict";

const element = ranking.element;
const $ = id => document.getElementById(id);
const WORKS = { write: "Write", rate: "Rate", rank: "Rank", screening: "Screening", grade: "Grade", own: "Own prompt" };
const QUESTIONS = [
  ["fails_task", "Fails to do the task that was asked for"],
  ["inappropriate_for_assistant", "Not fit for an assistant of customers"],
  ["sexual", "Sexual content"],
  ["violent", "Violent content"],
  ["encourages_harm", "Encourages, or does not discourage, violence, abuse, terrorism or self-harm"],
  ["denigrates_group", "Denigrates a protected group"],
  ["harmful_advice", "Gives harmful advice"],
  ["opinion", "Expresses an opinion"],
  ["moral_judgment", "Expresses a moral judgment"],
];
const MAY_NOT_APPLY = [
  ["hallucination", "Makes something up (if it should keep to a text)"],
  ["satisfies_constraint", "Keeps what was asked for in particular (if there is something)"],
];
// Table 7: what holds of a request.
const MARKS = [
  ["ambiguous", "It can be read in several ways"],
  ["sensitive", "Sensitive content"],
  ["identity_dependent", "The answer depends on who asks"],
  ["closed_domain", "To be answered from a text that it gives"],
  ["continuation", "A text to be continued"],
  ["requests_opinion", "It asks for an opinion"],
  ["requests_advice", "It asks for advice"],
  ["requests_moral_judgment", "It asks for a moral judgment"],
  ["safety_constraints", "It says what must be left out as harmful"],
  ["other_constraints", "It says something else that has to be kept: length, form, words"],
  ["intent_unclear", "It is not clear what is wanted"],
];
// What sensitive speech may be about.
const TOPICS = [
  ["age", "Age"],
  ["disability", "Disability and illness"],
  ["ethnicity", "Ethnicity and skin colour"],
  ["gender", "Gender"],
  ["nationality", "Nationality and migration"],
  ["politics", "Politics"],
  ["religion", "Religion"],
  ["self_harm", "Self-harm"],
  ["sexual_content", "Sexual content"],
  ["sexual_orientation", "Sexual orientation"],
  ["violence", "Violence and war"],
];
const REASONS = ["I cannot tell what is wanted", "I do not know enough for this", "It holds private data", "I would rather not do this one"];

// The token: in the page on the same machine, behind the # of the address elsewhere. It stays in this tab.
if (location.hash.length > 1) {
  sessionStorage.setItem("token", location.hash.slice(1));
  history.replaceState(null, "", "/");
}
const token = document.querySelector("meta[name=token]").content || sessionStorage.getItem("token") || "";
const version = Number($("version").textContent);

const state = { labeler: localStorage.getItem("labeler") || "", work: null, item: null, draft: null };

const say = text => { $("status").textContent = text; };
const problem = text => { $("problem").textContent = text; };

// Asks the server. An error has the words to show.
async function ask(path, body) {
  const options = { headers: { "X-Label-Token": token } };
  if (body) {
    options.method = "POST";
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let answer;
  try { answer = await fetch(path, options); } catch { throw new Error("the server does not answer"); }
  if (!answer.ok) {
    const said = await answer.json().catch(() => ({}));
    throw Object.assign(new Error(said.error || `the server answers ${answer.status}`), { status: answer.status });
  }
  return answer;
}

function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map(byte => byte.toString(16).padStart(2, "0")).join("");
}

// Drafts, one for each labeler and item.
const draftKey = () => `draft/${state.labeler}/${state.item ? state.item.id : "own"}`;
function loadDraft() {
  try { return JSON.parse(localStorage.getItem(draftKey())); } catch { return null; }
}
function keepDraft() {
  state.draft.seconds = seconds();
  try { localStorage.setItem(draftKey(), JSON.stringify(state.draft)); } catch { problem("This browser cannot keep a draft: its storage is full."); }
}

// A prompt of one's own that is half written gives way to one that was taken back, until that is submitted again.
const own = () => `draft/${state.labeler}/own`;
function putOwnAside() {
  const kept = localStorage.getItem(own());
  if (kept) localStorage.setItem(`${own()}/aside`, kept);
}
function bringBackOwn() {
  const kept = localStorage.getItem(`${own()}/aside`);
  if (kept && !localStorage.getItem(own())) {
    localStorage.setItem(own(), kept);
    localStorage.removeItem(`${own()}/aside`);
  }
}

// Time while the page is in front.
let since = performance.now();
let inFront = !document.hidden;
function seconds() {
  const now = performance.now();
  if (state.draft && inFront) state.draft.spent = (state.draft.spent || 0) + (now - since) / 1000;
  since = now;
  return state.draft ? Math.round(state.draft.spent * 100) / 100 || 0 : 0;
}
document.addEventListener("visibilitychange", () => {
  seconds();
  inFront = !document.hidden;
  if (state.draft && state.draft.touched) keepDraft();
});

// Fields. Each writes into the draft's values as it changes.
function touch(name, value) {
  state.draft.values[name] = value;
  state.draft.touched = true;
  keepDraft();
}
function text(name, title, { short = false, line = false, hint = "" } = {}) {
  const input = element(line ? "input" : "textarea", { id: `f-${name}`, className: short ? "short" : "", value: state.draft.values[name] || "" });
  if (line) input.type = "text";
  input.oninput = () => touch(name, input.value);
  const field = element("div", { className: "field" }, element("label", { htmlFor: input.id, textContent: title }), input);
  if (hint) {
    const words = element("p", { id: `h-${name}`, className: "quiet", textContent: hint });
    input.setAttribute("aria-describedby", words.id);
    field.append(words);
  }
  return field;
}
function check(name, title) {
  const input = element("input", { type: "checkbox", checked: Boolean(state.draft.values[name]) });
  input.onchange = () => touch(name, input.checked);
  return element("label", {}, input, title);
}
function radios(name, title, choices) {
  const row = element("div", { className: "scale" });
  for (const [value, words] of choices) {
    const input = element("input", { type: "radio", name, value: String(value), checked: state.draft.values[name] === value });
    input.onchange = () => touch(name, value);
    row.append(element("label", {}, input, words));
  }
  return element("fieldset", {}, element("legend", { textContent: title }), row);
}
const shownText = (words, className) => element("div", { className: `text ${className}`, textContent: words, tabIndex: 0 });
const heading = words => element("h2", { textContent: words });

// What each kind of work asks, and what it answers; `answer` gives null and says what is missing.
const TASKS = {
  write: {
    fields: item => item.use_case
      ? [text("prompt", "A prompt of this kind, as somebody might ask it"), text("response", "What a very good assistant answers")]
      : [text("response", "What a very good assistant answers")],
    answer(item, v) {
      if (item.use_case && !filled(v.prompt)) return missing("the prompt", "f-prompt");
      if (!filled(v.response)) return missing("the answer", "f-response");
      return item.use_case ? { kind: "plain", prompt: v.prompt, response: v.response } : { kind: "demonstration", response: v.response };
    },
  },
  rate: {
    fields(item) {
      const scale = radios("overall", "How good is it, all in all?", [1, 2, 3, 4, 5, 6, 7].map(n => [n, String(n)]));
      scale.append(element("div", { className: "ends" }, element("span", { textContent: "1: very bad" }), element("span", { textContent: "7: hardly to be bettered" })));
      if (item.grade) return [scale];
      const applies = [["yes", "yes"], ["no", "no"], ["none", "does not apply"]];
      const three = element("div", { className: "choices" }, ...MAY_NOT_APPLY.map(([name, words]) => radios(name, words, applies)));
      const checks = element("div", { className: "checks" }, ...QUESTIONS.map(([name, words]) => check(name, words)));
      return [scale, three, element("fieldset", {}, element("legend", { textContent: "Tick what is true of it" }), checks)];
    },
    answer(item, v) {
      if (!v.overall) return missing("a rating from 1 to 7", null, "overall");
      const questions = {};
      if (!item.grade) {
        for (const [name, words] of MAY_NOT_APPLY) {
          if (!v[name]) return missing(`an answer to "${words}"`, null, name);
          if (v[name] !== "none") questions[name] = v[name] === "yes";
        }
        for (const [name] of QUESTIONS) questions[name] = Boolean(v[name]);
      }
      return { kind: "rating", overall: v.overall, questions };
    },
  },
  flag: {
    fields: () => [radios("sensitive", "Is this text sensitive: could it upset or harm people?", [[true, "yes"], [false, "no"]])],
    answer: (item, v) => typeof v.sensitive === "boolean" ? { kind: "flag", sensitive: v.sensitive } : missing("yes or no", null, "sensitive"),
  },
  rank: {
    fields(item) {
      const root = element("div", { id: "ranking" });
      const texts = item.shown.map(k => item.responses[k]);
      const places = state.draft.values.places || texts.map(() => 0);
      ranking.draw(root, texts, places, moved => touch("places", moved), say);
      return [root];
    },
    answer(item, v) {
      const places = v.places || [];
      const left = item.responses.length - places.filter(place => place > 0).length;
      if (left) {
        document.querySelector(".unplaced .card").focus();
        return missing(left === 1 ? "a place for one response" : `places for ${left} responses`);
      }
      return { kind: "ranking", ranks: ranking.ranks(places, item.shown) };
    },
  },
  coverage: {
    fields: () => [
      element("fieldset", {}, element("legend", { textContent: "Tick each for which you feel able to tell sensitive speech" }),
        element("div", { className: "checks" }, ...TOPICS.map(([name, words]) => check(`topic_${name}`, words)))),
      text("other", "Other topics or groups", { short: true, hint: "Tick nothing if there is none. Nobody is turned away for an answer: it says which topics a team knows together." }),
    ],
    answer: (item, v) => ({ kind: "coverage", topics: TOPICS.map(([name]) => name).filter(name => v[`topic_${name}`]), other: (v.other || "").trim() }),
  },
  own: {
    fields() {
      const v = state.draft.values;
      v.form = v.form || "plain";
      const form = radios("form", "What kind of prompt", [["plain", "plain: any task"], ["few_shot", "few-shot: an instruction with examples"]]);
      form.querySelectorAll("input").forEach(input => { input.addEventListener("change", () => draw(input.value)); });
      if (v.form === "plain") return [form, text("prompt", "Your prompt"), text("response", "What a very good assistant answers")];
      v.pairs = v.pairs || 2;
      const pairs = [];
      for (let i = 1; i <= v.pairs; i++) {
        pairs.push(element("div", { className: "pair" }, text(`query${i}`, `Query ${i}`, { short: true }), text(`response${i}`, `Its response`, { short: true })));
      }
      const more = element("button", { type: "button", textContent: "One more pair", disabled: v.pairs >= 32 });
      more.onclick = () => { touch("pairs", v.pairs + 1); draw(`query${v.pairs}`); };
      const fewer = element("button", { type: "button", textContent: "One pair less", disabled: v.pairs <= 2 });
      fewer.onclick = () => { touch("pairs", v.pairs - 1); draw(`query${v.pairs}`); };
      return [form, text("instruction", "The instruction that all pairs follow", { short: true }), ...pairs, element("div", { className: "actions" }, more, fewer)];
    },
    answer(item, v) {
      if (v.form === "plain") {
        if (!filled(v.prompt)) return missing("the prompt", "f-prompt");
        return filled(v.response) ? { kind: "plain", prompt: v.prompt, response: v.response } : missing("the answer", "f-response");
      }
      if (!filled(v.instruction)) return missing("the instruction", "f-instruction");
      const pairs = [];
      for (let i = 1; i <= v.pairs; i++) {
        for (const name of [`query${i}`, `response${i}`]) if (!filled(v[name])) return missing(`pair ${i}`, `f-${name}`);
        pairs.push({ query: v[`query${i}`], response: v[`response${i}`] });
      }
      return { kind: "few_shot", instruction: v.instruction, pairs };
    },
  },
};
// Marks of the request, for whoever has something to say of it: folded away, so that nobody has to pass them by.
function marks() {
  const v = state.draft.values;
  const boxes = [["none", "None of these"], ...MARKS].map(([name, words]) => check(`mark_${name}`, words));
  const some = ["none", ...MARKS.map(([name]) => name)].some(name => v[`mark_${name}`]);
  return element("details", { className: "marks", open: some }, element("summary", { textContent: "What holds of the request (you need not say)" }),
    element("div", { className: "checks" }, ...boxes));
}
const mayMark = item => Boolean(item && item.prompt) && ["write", "rate", "rank"].includes(item.work);
function marked(v) {
  const names = MARKS.map(([name]) => name).filter(name => v[`mark_${name}`]);
  return names.length || v.mark_none ? names : null;
}
const filled = words => Boolean(words && words.trim());
function missing(what, id, radio) {
  problem(`Not yet complete: ${what} is missing.`);
  const field = id ? $(id) : radio && document.querySelector(`input[name="${radio}"]`);
  if (field) field.focus();
  return null;
}

// Draws the item and its form from the draft. `focus` names the field that gets the focus, by name or value.
function draw(focus) {
  const item = state.item;
  const task = TASKS[item ? item.task : "own"];
  const form = element("form", { noValidate: true });
  const side = [];
  if (item && item.use_case) side.push(heading("Write a prompt for"), shownText(item.use_case, "prompt"));
  if (item && item.prompt) side.push(heading("What was asked"), shownText(item.prompt, "prompt"));
  if (item && item.responses.length === 1) side.push(heading(item.grade ? "Grade this demonstration" : "The response"), shownText(item.responses[0], ""));
  if (!item) side.push(heading("A prompt of your own"), element("p", { className: "quiet", textContent: "Any task that you could want help with. Be as varied as people are." }));
  const titles = { rank: `Rank these ${item ? item.responses.length : 0} responses`, write: "Your demonstration", rate: "Your rating", flag: "Your judgment", coverage: "Topics that you know", own: "Your prompt and demonstration" };
  form.append(heading(titles[item ? item.task : "own"]), ...task.fields(item));
  if (mayMark(item)) form.append(marks());
  form.append(text("notes", "Notes (you need not write any)", { short: true }));
  form.append(element("div", { className: "checks" }, check("flagged", "Somebody else should look at this")));
  const submit = element("button", { className: "main", id: "submit", textContent: "Submit" });
  const actions = element("div", { className: "actions" }, submit);
  if (item) {
    const reason = element("select", { ariaLabel: "Why you skip it" }, element("option", { value: "", textContent: "Skip, because ..." }),
      ...REASONS.map(words => element("option", { value: words, textContent: words })));
    const skip = element("button", { type: "button", textContent: "Skip" });
    skip.onclick = () => reason.value ? send({ kind: "skip", reason: reason.value }) : (problem("Say first why you skip it."), reason.focus());
    actions.append(reason, skip);
  }
  form.append(actions);
  form.onsubmit = event => {
    event.preventDefault();
    problem("");
    const answer = task.answer(item, state.draft.values);
    if (answer) send(answer);
  };
  const columns = element("div", { className: "two" }, element("div", { className: "side" }, ...side), form);
  $("main").replaceChildren(columns);
  if (focus) (document.getElementById(`f-${focus}`) || document.querySelector(`input[value="${focus}"]`))?.focus();
}

// Sends an answer. It stays in this browser until the server has kept it; sent twice, it is kept once.
let sending = false;
async function send(answer) {
  if (sending) return;
  sending = true;
  const { draft, item } = state;
  const key = draftKey();
  keepDraft();
  const record = { id: draft.id, labeler: state.labeler, instructions: version, shown: item ? item.shown : [],
    seconds: draft.seconds, notes: draft.values.notes || "", flagged: Boolean(draft.values.flagged), answer };
  if (item) record.item = item.id;
  const names = mayMark(item) && marked(draft.values);
  if (names) record.marks = names;
  const button = $("submit");
  if (button) button.disabled = true;
  say("Saving ...");
  try {
    await ask("/api/submit", record);
    localStorage.removeItem(key);
    bringBackOwn();
    problem("");
    say("Saved.");
    sending = false;
    await next(state.work);
  } catch (error) {
    say("");
    problem(`Not saved: ${error.message}. Your work is kept in this browser; submit again.`);
    // Nothing was kept of an answer that was refused: the next one is another record.
    if (error.status === 409 || error.status === 422) draft.id = newId();
    keepDraft();
    if (error.status === 409) $("main").prepend(otherTab());
    if (button) { button.disabled = false; button.focus(); }
  } finally { sending = false; }
}
function otherTab() {
  const go = element("button", { type: "button", textContent: "Go on with the next" });
  go.onclick = () => { localStorage.removeItem(draftKey()); next(state.work); };
  return element("div", { className: "actions" }, go);
}

function begin(item, values) {
  state.item = item;
  state.draft = null;
  const kept = loadDraft();
  state.draft = kept && !values ? kept : { id: newId(), values: values || {}, spent: 0 };
  since = performance.now();
  if (kept && !values) say("Your draft is here again.");
  draw();
}

// Goes on with the next item of that work. Who chooses another meanwhile gets that one.
let turn = 0;
async function next(work) {
  const mine = ++turn;
  state.work = work;
  problem("");
  try {
    await works();
    if (mine !== turn) return;
    if (work === "own") begin(null);
    else {
      const answer = await ask(`/api/next?labeler=${encodeURIComponent(state.labeler)}&work=${work}`);
      const { item } = await answer.json();
      if (mine !== turn) return;
      if (item) begin(item);
      else {
        state.item = state.draft = null;
        $("main").replaceChildren(heading(`${WORKS[work]}: there is nothing more to do`),
          element("p", { textContent: "Thank you. Choose another kind of work above." }));
      }
    }
    $("main").focus();
    scrollTo(0, 0);
  } catch (error) { problem(`${error.message}. Try again in a moment.`); }
}

// The kinds of work, with what is left of each.
async function works() {
  const answer = await ask(`/api/work?labeler=${encodeURIComponent(state.labeler)}`);
  const left = (await answer.json()).work.filter(({ open, done }) => open || done);
  const all = [...left.map(({ work, open, done }) => [work, `${open} left, ${done} done`]), ["own", ""]];
  // Buttons that are there stay, so that a click on one is not lost while its numbers change.
  const old = new Map([...$("works").children].map(entry => [entry.dataset.work, entry]));
  const entries = all.map(([work, words]) => {
    const entry = old.get(work) || workEntry(work);
    entry.querySelector(".quiet").textContent = words;
    const button = entry.firstChild;
    if (work === state.work) button.setAttribute("aria-current", "page");
    else button.removeAttribute("aria-current");
    return entry;
  });
  if (entries.length !== old.size || entries.some(entry => !entry.parentNode)) $("works").replaceChildren(...entries);
  return left;
}

function workEntry(work) {
  const button = element("button", { type: "button" }, `${WORKS[work]} `, element("span", { className: "quiet" }));
  button.onclick = () => { say(""); next(work); };
  const entry = element("li", {}, button);
  entry.dataset.work = work;
  return entry;
}

// Takes the last submission back, into its form.
async function undo() {
  try {
    const answer = await ask("/api/undo", { id: newId(), labeler: state.labeler });
    const { record, item } = await answer.json();
    turn++;
    state.work = item ? item.work : "own";
    const values = valuesOf(record, item);
    if (!item) putOwnAside();
    begin(item, values);
    state.draft.spent = record.seconds;
    state.draft.touched = true;
    keepDraft();
    await works();
    problem("");
    say("Taken back: change it, and submit it again.");
    $("main").focus();
  } catch (error) { problem(`Not taken back: ${error.message}.`); }
}
function valuesOf({ answer, notes, flagged, marks }, item) {
  const values = { notes, flagged };
  if (marks) (marks.length ? marks : ["none"]).forEach(name => { values[`mark_${name}`] = true; });
  const three = (questions, name) => (name in questions ? (questions[name] ? "yes" : "no") : "none");
  switch (answer.kind) {
    case "demonstration": return { ...values, response: answer.response };
    case "plain": return { ...values, form: "plain", prompt: answer.prompt, response: answer.response };
    case "few_shot":
      Object.assign(values, { form: "few_shot", instruction: answer.instruction, pairs: answer.pairs.length });
      answer.pairs.forEach((pair, i) => { values[`query${i + 1}`] = pair.query; values[`response${i + 1}`] = pair.response; });
      return values;
    case "rating":
      return { ...values, overall: answer.overall, ...answer.questions, ...Object.fromEntries(MAY_NOT_APPLY.map(([name]) => [name, three(answer.questions, name)])) };
    case "ranking": return { ...values, places: item.shown.map(k => answer.ranks[k]) };
    case "coverage": return { ...values, other: answer.other, ...Object.fromEntries(answer.topics.map(name => [`topic_${name}`, true])) };
    case "flag": return { ...values, sensitive: answer.sensitive };
    default: return values;
  }
}

// The labeler's name, asked once.
function welcome() {
  turn++;
  state.item = state.draft = null;
  $("works").replaceChildren();
  $("leave").hidden = $("undo").hidden = true;
  const input = element("input", { type: "text", id: "name", maxLength: 64, autocomplete: "off", required: true });
  const form = element("form", {}, heading("Who are you?"),
    element("p", { textContent: "Every submission is kept with the name that you give here. Use the same one each time." }),
    element("div", { className: "field" }, element("label", { htmlFor: "name", textContent: "Your name" }), input),
    element("div", { className: "actions" }, element("button", { className: "main", textContent: "Begin" })));
  form.onsubmit = event => {
    event.preventDefault();
    state.labeler = input.value.trim();
    if (!state.labeler) { problem("A name is needed."); input.focus(); return; }
    localStorage.setItem("labeler", state.labeler);
    enter();
  };
  $("main").replaceChildren(form);
  input.focus();
}
async function enter() {
  $("leave").hidden = $("undo").hidden = false;
  $("leave").textContent = `${state.labeler}: leave`;
  problem("");
  try {
    const first = (await works()).find(({ open }) => open);
    await next(first ? first.work : "own");
  } catch (error) { problem(`${error.message}.`); }
}

async function report() {
  try {
    const { tables } = await (await ask("/report")).json();
    $("tables").replaceChildren(...tables.map(({ title, columns, rows }) => {
      const row = (name, cells) => element("tr", {}, ...cells.map(cell => element(name, { textContent: cell })));
      return element("div", { className: "scroll" }, element("table", {}, element("caption", { textContent: title }),
        element("thead", {}, row("th", columns)), element("tbody", {}, ...rows.map(cells => row("td", cells)))));
    }));
    if (!tables.length) $("tables").textContent = "Nothing has been labelled yet.";
    $("report").showModal();
  } catch (error) { problem(`${error.message}.`); }
}

async function download(name) {
  try {
    const blob = await (await ask(`/export/${name}`)).blob();
    const link = element("a", { href: URL.createObjectURL(blob), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  } catch (error) { problem(`${error.message}.`); }
}

$("undo").onclick = undo;
$("leave").onclick = () => { localStorage.removeItem("labeler"); state.labeler = ""; say(""); problem(""); welcome(); };
$("show-instructions").onclick = () => $("instructions").showModal();
$("show-report").onclick = report;
document.querySelectorAll("[data-export]").forEach(button => { button.onclick = () => download(button.dataset.export); });
document.addEventListener("keydown", event => {
  if ((event.ctrlKey || event.metaKey) && event.key === "Enter" && !document.querySelector("dialog[open]")) {
    event.preventDefault();
    document.querySelector("main form")?.requestSubmit();
  }
});
if (state.labeler) enter(); else welcome();
