//! `episode_ppo.jsonl` and `episode_ppo_ptx.jsonl`: one episode of PPO, token by token, and the picture of it.

use super::html::{escape, folded};
use super::record::lines;
use crate::error::{Error, Result};

/// An episode: a prompt, and the tokens of the policy's response.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Episode {
    /// What was asked.
    pub prompt: String,
    /// The reward model's score of the response, with what it lost for not ending.
    pub score: f64,
    /// The coefficient of the KL penalty, in reward per nat.
    pub kl_coef: f64,
    /// Its tokens in order. With the score behind the end of the response, the last one is no token.
    pub tokens: Vec<Token>,
}

/// What PPO knows of a token; `None` where there is nothing to know.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Token {
    /// Its text.
    pub text: String,
    /// The numbers, in the order of [`ROWS`].
    pub numbers: [Option<f64>; 6],
}

/// What is known of a token: the file's name for it, the page's short one, what it is, in a sentence.
pub const ROWS: [(&str, &str, &str); 6] = [
    ("log_prob", "ln π", "log-probability that the policy gave this token, in nats"),
    ("reference_log_prob", "ln ref", "log-probability that the reference, the model PPO began with, gave it"),
    ("kl", "KL", "the difference of the two: above 0 the policy says this more readily than before"),
    ("value", "value", "the reward still to come, as the value function expected it before this token"),
    ("reward", "reward", "what was paid here: minus β times KL, and at the end the reward model's score"),
    ("advantage", "adv.", "how much better it went than expected; training makes tokens above 0 likelier"),
];

/// Reads the file's text: an object with prompt, score and coefficient, then one for each token.
///
/// # Errors
/// [`Error::Format`] with file and line.
pub fn episode(text: &str, origin: &str) -> Result<Episode> {
    let mut episode = Episode::default();
    for (i, line) in lines(text, origin).enumerate() {
        let (at, value) = line?;
        let wrong = |expected: &str| Error::format(origin, &at, expected, &value, "");
        if i == 0 {
            let (Some(prompt), Some(score)) = (value["prompt"].as_str(), value["score"].as_f64()) else {
                return Err(wrong("\"prompt\" and \"score\""));
            };
            (episode.prompt, episode.score) = (prompt.into(), score);
            episode.kl_coef = value["kl_coef"].as_f64().unwrap_or(0.0);
            continue;
        }
        let token = value["text"].as_str().ok_or_else(|| wrong("\"text\" (a string)"))?;
        let numbers = ROWS.map(|(name, ..)| value[name].as_f64());
        episode.tokens.push(Token { text: token.into(), numbers });
    }
    Ok(episode)
}

/// A token as it can be seen: white space and ends have signs.
fn visible(text: &str) -> String {
    match text {
        "" => "after the end".into(),
        text => text.replace(' ', "␣").replace('\n', "⏎").replace('\t', "⇥"),
    }
}

impl Episode {
    /// The picture: a card for each token with a number and a bar for each of [`ROWS`].
    pub fn html(&self, policy: &str) -> String {
        let mut out = format!(
            "<h3>One episode of {}, token by token</h3>\n<p class=\"quiet\">The trained policy answers the first validation \
             prompt; this is what one such answer teaches it. Bars of a row are drawn to one scale, to the right above \
             0 and to the left below. Advantages are shown before they are whitened over a minibatch.</p>\n\
             <pre class=\"box prompt\">{}</pre>\n",
            escape(policy),
            escape(&self.prompt)
        );
        let rows = ROWS.map(|(_, name, about)| format!("<dt>{name}</dt><dd>{}</dd>", escape(about)));
        out += &folded("What the rows are", &format!("<dl class=\"rows\">{}</dl>\n", rows.concat()));
        let size = |row: usize| {
            let sizes = self.tokens.iter().filter_map(|token| token.numbers[row]).map(f64::abs);
            sizes.filter(|x| x.is_finite()).fold(1e-9, f64::max)
        };
        // The first two rows, and value, reward and advantage, are compared with each other.
        let (log_probs, rewards) = (size(0).max(size(1)), size(3).max(size(4)).max(size(5)));
        let scales = [log_probs, log_probs, size(2), rewards, rewards, rewards];
        out += "<ol class=\"tokens\">\n";
        for (i, token) in self.tokens.iter().enumerate() {
            let last = i + 1 == self.tokens.len();
            out += if last { "<li class=\"last\">" } else { "<li>" };
            out += &format!("<b>{}</b>", escape(&visible(&token.text)));
            for ((row, number), scale) in ROWS.iter().zip(token.numbers).zip(scales) {
                out += &bar(row.1, number, scale);
            }
            if last {
                out += &format!("<span class=\"score\">score {:.2}</span>", self.score);
            }
            out += "</li>\n";
        }
        out + "</ol>\n"
    }
}

/// A number, and a bar from the middle of its card.
fn bar(name: &str, number: Option<f64>, scale: f64) -> String {
    let Some(x) = number else { return format!("<div class=\"row\"><i>{name}</i><u>–</u></div>") };
    let (side, width) = (if x < 0.0 { "down" } else { "up" }, 50.0 * (x.abs() / scale).min(1.0));
    let sign = if x < 0.0 { "−" } else { "" };
    format!(
        "<div class=\"row\"><span class=\"{side}\" style=\"width:{width:.0}%\"></span><i>{name}</i><u>{sign}{:.2}</u></div>",
        x.abs()
    )
}

/// The file of a stage.
pub fn file_of(stage: &str) -> String {
    format!("episode_{stage}.jsonl")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "{\"prompt\":\"<p>\",\"score\":1.5,\"kl_coef\":0.1}\n\
        {\"text\":\" a\",\"log_prob\":-0.5,\"reference_log_prob\":-1.0,\"kl\":0.5,\"value\":0.25,\"reward\":-0.05,\"advantage\":1.0}\n\
        {\"text\":\"\",\"value\":0.5,\"reward\":1.5}\n";

    #[test]
    fn an_episode_is_read_and_drawn() {
        let episode = episode(TEXT, "e").unwrap();
        assert_eq!(episode.tokens[0].numbers[4], Some(-0.05));
        assert_eq!(episode.tokens[1].numbers[..3], [None; 3]);
        let html = episode.html("PPO");
        for part in ["&lt;p&gt;", "<b>␣a</b>", "<b>after the end</b>", "score 1.50", "<i>KL</i><u>0.50</u>"]
        {
            assert!(html.contains(part), "{part}: {html}");
        }
        // The reward of 1.5 is the largest of its three rows: -0.05 is a sixtieth of the card, 1 a third.
        assert!(html.contains("<span class=\"down\" style=\"width:2%\"></span><i>reward</i><u>−0.05</u>"));
        assert!(html.contains("<span class=\"up\" style=\"width:33%\"></span><i>adv.</i><u>1.00</u>"));
    }

    #[test]
    fn malformed_lines_are_numbered() {
        for (text, line) in [("{}\n", "line 1"), ("{\"prompt\":\"p\",\"score\":1}\n{\"kl\":1}", "line 2")] {
            let message = episode(text, "e.jsonl").unwrap_err().to_string();
            assert!(message.starts_with("e.jsonl: ") && message.contains(line), "{message}");
        }
    }
}
