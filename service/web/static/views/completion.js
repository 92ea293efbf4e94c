// A running request to /v1/completions: its pieces, the moves of its temperature, and what is known of it in the end.

import { ask, events, pause } from "../api.js";

const ALTERNATIVES = 5; // of each character, told with it

// request: { model, prompt, length, temperature (pairs), top_k, top_p, min_p, stop, seed }
export function complete({ length, temperature, ...rest }) {
  const end = new AbortController();
  const facts = { id: null, checkpoint: null, course: null, speed: 0 };
  const body = { ...rest, max_tokens: length, temperature, logprobs: ALTERNATIVES, stream: true };

  // { text, logprobs } as they come. Raises ApiError, and AbortError after cancel().
  async function* pieces() {
    const began = performance.now();
    let characters = 0;
    for await (const { data } of events("/v1/completions", { method: "POST", body, signal: end.signal })) {
      facts.id ??= data.id;
      facts.checkpoint ??= data.system_fingerprint.split(" ")[1]; // "charloom-VERSION RUN@STEP"
      for (const choice of data.choices) {
        facts.reason = choice.finish_reason ?? facts.reason;
        characters += choice.text.length;
        facts.speed = (1000 * characters) / Math.max(1, performance.now() - began); // characters a second, as they come here
        if (choice.text) yield choice;
      }
      if (data.charloom) learn(data.charloom);
    }
  }

  function learn({ temperature: course, prompts: [prompt], out_of_time: cut }) {
    Object.assign(facts, { course, cut, truncated: prompt.truncated, substituted: prompt.substituted });
  }

  // From here on, another temperature; gives the course that is then in force, or null where the text was finished meanwhile.
  async function move(value) {
    while (!facts.id && !end.signal.aborted) await pause(20);
    try {
      const answer = await ask(`/v1/completions/${facts.id}`, { method: "PATCH", body: { temperature: value }, signal: end.signal });
      return answer.temperature ?? null;
    } catch (error) {
      if (error.status === 404 || error.status === 409) return null;
      throw error;
    }
  }

  return { pieces, move, facts, cancel: () => end.abort() };
}
