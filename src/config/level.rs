//! What may stand as a log level. The filter's own reading takes any word for a module's name, so that a level
//! with a slip in it would silence the log.

use tracing_subscriber::EnvFilter;

/// The levels, least talkative first.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
/// What can be written.
const FIX: &str =
    "write off, error, warn, info, debug or trace, or directives like info,deskgate::blip=debug";

/// Checks a level, or directives; the error says what to write.
pub fn check_level(text: &str) -> Result<(), String> {
    // Commas and words within brackets are about spans.
    let directives: Vec<&str> = if text.contains('[') { Vec::new() } else { text.split(',').collect() };
    for directive in directives {
        let (has_target, word) = match directive.rsplit_once('=') {
            Some((_, level)) => (true, level.trim()),
            None => (false, directive.trim()),
        };
        let is_level = LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
        if !is_level && !has_target {
            return Err(fix_of(word));
        }
    }
    EnvFilter::try_new(text).map(drop).map_err(|_source| {
        let last = text.rsplit('=').next().unwrap_or_default();
        fix_of(last.trim())
    })
}

fn fix_of(word: &str) -> String {
    let word = word.to_ascii_lowercase();
    let near = |level: &&str| strsim::damerau_levenshtein(level, &word);
    if let Some(level) = LEVELS.into_iter().find(|level| *level != word && word.starts_with(level)) {
        return format!("did you mean `{level}`?"); // warning, information
    }
    match LEVELS.into_iter().min_by_key(near) {
        Some(level) if (1..=2.min(word.len() / 2)).contains(&near(&level)) => {
            format!("did you mean `{level}`?")
        }
        Some(_) | None => FIX.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_directives() {
        for text in
            ["warn", "INFO", "off,deskgate::blip=debug", "info,deskgate=trace", "info,[rpc{bot=1}]=debug"]
        {
            assert_eq!(check_level(text), Ok(()), "{text}");
        }
        for text in ["wran", "warning", "info,wanr", "deskgate=wran"] {
            assert_eq!(check_level(text), Err("did you mean `warn`?".to_owned()), "{text}");
        }
        for text in ["", "deskgate", "a=b=c", "3"] {
            assert_eq!(check_level(text), Err(FIX.to_owned()), "{text}");
        }
    }
}
