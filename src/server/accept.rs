//! Which of the formats we have a caller prefers.

/// The index of the best of `ours` (`type/subtype`) for an `Accept` header; the first where the
/// caller has no preference or wants something else. A verdict is never refused with 406: the
/// status line says it in any format.
pub(super) fn prefer(accept: Option<&str>, ours: &[&str]) -> usize {
    let Some(accept) = accept.filter(|accept| *accept != "*/*") else {
        return 0;
    };
    let mut best = (0, 0);
    for (index, media_type) in ours.iter().enumerate() {
        let quality = quality(accept, media_type);
        if quality > best.0 {
            best = (quality, index);
        }
    }
    best.1
}

/// How much a media type is wanted, in thousandths. The most specific range decides.
fn quality(accept: &str, media_type: &str) -> u32 {
    let (kind, _) = media_type.split_once('/').unwrap_or((media_type, ""));
    let mut found = (0, 0);
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let specific = if name.eq_ignore_ascii_case(media_type) {
            3
        } else if name
            .strip_suffix("/*")
            .is_some_and(|k| k.eq_ignore_ascii_case(kind))
        {
            2
        } else if name == "*/*" {
            1
        } else {
            continue;
        };
        let q = parts.find_map(|p| p.strip_prefix("q=").or_else(|| p.strip_prefix("Q=")));
        let q = q
            .map_or(Some(1.0), |q| q.parse::<f32>().ok())
            .unwrap_or(0.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to 0..=1 before; NaN becomes 0"
        )]
        let q = (q.clamp(0.0, 1.0) * 1000.0) as u32;
        found = found.max((specific, q));
    }
    found.1
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: [&str; 2] = ["application/json", "text/plain"];

    #[test]
    fn json_unless_text_is_wanted_more() {
        for json in [
            None,
            Some("*/*"),
            Some("application/json, text/plain, */*"),
            Some("text/html,application/xhtml+xml,*/*;q=0.8"),
            Some("image/png"),
            Some(""),
            Some("text/plain;q=0"),
            Some("text/plain;q=nonsense"),
        ] {
            assert_eq!(prefer(json, &OURS), 0, "{json:?}");
        }
        for text in [
            "text/plain",
            "text/*",
            "text/plain, */*;q=0.5",
            "Text/Plain",
        ] {
            assert_eq!(prefer(Some(text), &OURS), 1, "{text}");
        }
    }

    #[test]
    fn a_scraper_gets_open_metrics_when_it_prefers_it() {
        let ours = ["text/plain", "application/openmetrics-text"];
        let prometheus = "application/openmetrics-text;version=1.0.0,\
            application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(prefer(Some(prometheus), &ours), 1);
        assert_eq!(prefer(Some("*/*"), &ours), 0);
    }
}
