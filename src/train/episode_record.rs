//! One episode, token by token, for people to look at: `episode_ppo.jsonl`.

use serde_json::{Value, json};

use super::episodes::Episodes;
use crate::text::Tokenizer;

/// The file's text. First a line with the prompt, the score and the coefficient of the KL penalty; then one for each
/// token of the response: its text, log-prob, reference log-prob, KL (their difference), value, reward and advantage
/// (before whitening). Where the score is placed after the end of the response, one more has a value and a reward, and
/// no text. Log-probs and KL are in nats, the others in units of the reward.
pub fn lines(episodes: &Episodes, episode: usize, kl_coef: f32, tokenizer: &Tokenizer) -> String {
    let prompt = tokenizer.decode_lossy(episodes.rollouts.prompt(episode));
    let head =
        json!({ "prompt": prompt, "score": number(episodes.scores[episode]), "kl_coef": number(kl_coef) });
    let mut out = format!("{head}\n");
    let (response, positions) = (episodes.response(episode), episodes.positions(episode));
    for i in 0..positions.len() {
        let mut line = json!({ "text": "", "value": number(episodes.values[positions.start + i]),
            "reward": number(episodes.rewards[positions.start + i]) });
        if let Some(&token) = episodes.rollouts.response(episode).get(i) {
            let at = response.start + i;
            let (own, reference) = (episodes.old_log_probs[at], episodes.reference_log_probs[at]);
            line["text"] = json!(tokenizer.decode_lossy(&[token]));
            line["log_prob"] = number(own);
            line["reference_log_prob"] = number(reference);
            line["kl"] = number(own - reference);
            line["advantage"] = number(episodes.advantages[at]);
        }
        out += &format!("{line}\n");
    }
    out
}

/// Zero without a sign; `null` for what is not finite.
fn number(x: f32) -> Value {
    json!(x + 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::PpoSettings;
    use crate::train::rollouts::Rollouts;

    #[test]
    fn every_token_has_its_numbers_and_the_score_its_place() {
        let tokenizer = Tokenizer::train(["ab ab", "ab"], 258).unwrap();
        let tokens = tokenizer.encode("ab");
        let s = PpoSettings { score_after_eos: true, max_response_tokens: 9, ..PpoSettings::default() };
        let mut rollouts = Rollouts::default();
        rollouts.push(&tokens, &[tokens.as_slice(), &[tokenizer.end_of_text()]].concat());
        let n = tokens.len() + 1;
        let mut episodes = Episodes::new(rollouts, vec![-0.5; n], vec![2.0], &s);
        episodes.reference_log_probs = vec![-1.0; n];
        episodes.advantages = vec![-0.0; n];
        episodes.values = vec![0.25; n + 1];
        episodes.rewards = vec![0.125; n + 1];
        let text = lines(&episodes, 0, 0.5, &tokenizer);
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0], json!({ "prompt": "ab", "score": 2.0, "kl_coef": 0.5 }));
        assert_eq!(lines.len(), n + 2);
        let all = json!({ "text": lines[1]["text"], "log_prob": -0.5, "reference_log_prob": -1.0, "kl": 0.5,
            "value": 0.25, "reward": 0.125, "advantage": 0.0 });
        assert_eq!(lines[1], all);
        assert!(!text.contains("-0.0"));
        assert_eq!(lines[n + 1], json!({ "text": "", "value": 0.25, "reward": 0.125 }));
    }
}
