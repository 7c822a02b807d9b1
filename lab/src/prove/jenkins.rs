//! The pipeline of the Jenkins recipe, read from its page: what is sent, and what an answer makes of
//! it. A page that says something else is replayed as it says it, and a broken one fails.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Where the page has the token.
const TOKEN: &str = "${readFile(env.TOKEN_FILE).trim()}";

/// The pipeline, as far as a gate sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pipeline {
    /// The gate's address on the page.
    pub gate: String,
    url: String,
    /// The method of its requests.
    pub method: String,
    headers: Vec<(String, String)>,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Statuses that the plugin does not throw at.
    accepts: (u16, u16),
    /// Statuses that end the build.
    ends: Vec<u16>,
    /// The only status that goes on.
    goes_on: u16,
    /// After how long it asks for the second time.
    pub pause: Duration,
    /// What it asks for each node, before and after the restart.
    pub around: (String, String),
}

/// What the pipeline makes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The next step.
    GoesOn,
    /// Asks again.
    Again,
    /// The build has failed.
    Ends,
}

impl Pipeline {
    /// Reads the first pipeline of the page.
    ///
    /// # Errors
    /// Names what is not where it is expected.
    pub fn read(page: &str) -> Result<Self> {
        let (_, code) = page.split_once("```groovy\n").context("find a pipeline")?;
        let (code, _) = code.split_once("```").context("find its end")?;
        let (_, request) = code
            .split_once("httpRequest(")
            .context("find the request")?;
        let number = |text: &str| text.trim().parse::<u64>().context("read a number");
        let status = |text: &str| text.trim().parse::<u16>().context("read a status");
        let (low, high) = between(request, "validResponseCodes: '", "'")?
            .split_once(':')
            .context("find a range of statuses")?;
        let list = between(code, "if (answer.status in [", "]")?;
        let (_, after) = code
            .split_once("if (answer.status in [")
            .context("the list")?;
        ensure!(
            after
                .trim_start()
                .split_once('{')
                .is_some_and(|(_, block)| block.trim_start().starts_with("error(")),
            "see the build end with an error"
        );
        ensure!(
            code.contains("return readJSON(text: answer.content).open == true"),
            "see `open` in the body decide"
        );
        let (before, after) = code
            .split_once("// Stop, upgrade and start the node here.")
            .context("find the restart")?;
        let (_, last) = before
            .rsplit_once("ask('")
            .context("find what comes before it")?;
        let word = |text: &str| -> Result<String> {
            let (word, rest) = text.split_once('\'').context("find what is asked")?;
            ensure!(rest.starts_with(", node)"), "see it asked for the node");
            Ok(word.to_owned())
        };
        let (_, next) = after
            .split_once("ask('")
            .context("find what comes after it")?;
        Ok(Self {
            gate: between(code, "def gate = '", "'")?.to_owned(),
            url: between(request, "url: \"", "\"")?.to_owned(),
            method: between(request, "httpMode: '", "'")?.to_owned(),
            headers: headers(between(request, "customHeaders: [", "]]")?)?,
            timeout: Duration::from_secs(number(between(request, "timeout: ", ",")?)?),
            accepts: (status(low)?, status(high)?),
            ends: list.split(',').map(status).collect::<Result<_>>()?,
            goes_on: status(between(code, "if (answer.status != ", ")")?)?,
            pause: Duration::from_millis(number(between(code, "initialRecurrencePeriod: ", ",")?)?),
            around: (word(last)?, word(next)?),
        })
    }

    /// The address of one request, below the gate's.
    pub fn target(&self, what: &str, node: &str, owner: &str) -> String {
        let path = self.url.replace("${gate}", "").replace("${what}", what);
        path.replace("${node}", node).replace("${owner}", owner)
    }

    /// Its headers, with this token.
    pub fn headers(&self, token: &str) -> Vec<(String, String)> {
        let headers = self.headers.iter();
        let filled = headers.map(|(name, value)| (name.clone(), value.replace(TOKEN, token)));
        filled.collect()
    }

    /// What it makes of an answer. The plugin throws outside of its range, and `readJSON` at what
    /// is no JSON: both end the build.
    pub fn then(&self, status: u16, body: &[u8]) -> Then {
        let (low, high) = self.accepts;
        if !(low..=high).contains(&status) || self.ends.contains(&status) {
            return Then::Ends;
        }
        if status != self.goes_on {
            return Then::Again;
        }
        match serde_json::from_slice::<Value>(body) {
            Ok(body) if body["open"] == true => Then::GoesOn,
            Ok(_) => Then::Again,
            Err(_) => Then::Ends,
        }
    }
}

fn between<'t>(text: &'t str, start: &str, end: &str) -> Result<&'t str> {
    let (_, rest) = text
        .split_once(start)
        .with_context(|| format!("find {start:?}"))?;
    let (found, _) = rest
        .split_once(end)
        .with_context(|| format!("find {end:?} after {start:?}"))?;
    Ok(found)
}

/// Names and values of `[name: 'X', value: '1'], [...`.
fn headers(list: &str) -> Result<Vec<(String, String)>> {
    let one = |entry: &str| -> Result<(String, String)> {
        let name = between(entry, "name: '", "'")?;
        let (_, value) = entry
            .split_once("value: ")
            .context("find a header's value")?;
        let quote = value.get(..1).context("find a quote")?;
        Ok((name.to_owned(), between(value, quote, quote)?.to_owned()))
    };
    list.split("],").map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../../docs/recipes/jenkins.md");

    #[test]
    fn the_page_is_read_as_it_stands() {
        let read = Pipeline::read(PAGE).unwrap();
        assert_eq!(read.method, "POST");
        assert_eq!(read.timeout, Duration::from_secs(30));
        assert_eq!(read.pause, Duration::from_secs(5));
        assert_eq!(read.around, ("enter".to_owned(), "leave".to_owned()));
        assert_eq!(
            read.target("enter", "2", "roll-17"),
            "/enter?node=2&owner=roll-17"
        );
        assert_eq!(
            read.headers("secret"),
            [
                ("X-Upgrade-Gate".to_owned(), "1".to_owned()),
                ("Authorization".to_owned(), "Bearer secret".to_owned()),
            ]
        );
        for (status, body, then) in [
            (200, r#"{"open":true}"#, Then::GoesOn),
            (200, r#"{"open":false}"#, Then::Again),
            (200, "<h1>Log in</h1>", Then::Ends),
            (503, "{}", Then::Again),
            (404, "", Then::Again),
            (408, "", Then::Again),
            (400, "", Then::Ends),
            (401, "", Then::Ends),
            (403, "", Then::Ends),
            (409, "", Then::Ends),
        ] {
            assert_eq!(read.then(status, body.as_bytes()), then, "{status} {body}");
        }
    }

    #[test]
    fn a_page_that_is_broken_is_not_read() {
        for (whole, broken) in [
            ("httpRequest(", "request("),
            ("answer.status in", "answer.code in"),
            ("error(\"", "echo(\""),
            (".open == true", ".state == 'open'"),
            ("validResponseCodes: '100:599'", "validResponseCodes: '200'"),
            ("ask('leave', node)", "ask('leave')"),
            ("// Stop, upgrade", "// Upgrade"),
        ] {
            let page = PAGE.replace(whole, broken);
            assert_ne!(page, PAGE, "{whole}");
            assert!(Pipeline::read(&page).is_err(), "{broken}");
        }
    }
}
