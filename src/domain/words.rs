//! Texts of others, no longer than they may be.

/// A text of at most `bytes_max` bytes (which must have room for the word): one that is longer is cut between two
/// characters, and says so at its end.
pub fn cut(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        let word = format!("… (cut: {} bytes)", text.len());
        text.truncate(text.floor_char_boundary(bytes_max.saturating_sub(word.len())));
        text.push_str(&word);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_cut_says_so() {
        assert_eq!(cut("ç".repeat(20), 40), "ç".repeat(20));
        let long = cut("ç".repeat(50), 40);
        assert_eq!(long, format!("{}… (cut: 100 bytes)", "ç".repeat(10)));
        assert!(long.len() <= 40);
    }
}
