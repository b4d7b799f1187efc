//! Patterns of names: `*` is any text, `?` any one character.

/// A pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(String);

impl Glob {
    /// The pattern that `text` is.
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The pattern as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it stands for itself alone.
    pub fn is_plain(&self) -> bool {
        !self.0.contains(['*', '?'])
    }

    /// Whether `text` as a whole is like the pattern. Takes time in proportion to both lengths at
    /// worst: the last `*` alone is ever tried again.
    pub fn matches(&self, text: &str) -> bool {
        let (mut pattern, mut rest) = (self.0.chars(), text.chars());
        // Behind the last star, and the text that it has not taken yet.
        let mut retry = None;
        loop {
            let text_before = rest.clone();
            match (pattern.next(), rest.next()) {
                (None, None) => return true,
                (Some('*'), _) => {
                    rest = text_before;
                    retry = Some((pattern.clone(), rest.clone()));
                }
                (Some(wanted), Some(is)) if wanted == '?' || wanted == is => {}
                (Some(_), None) => return false,
                (_, Some(_)) => {
                    let Some((behind, taken)) = retry.as_mut() else { return false };
                    // One more character for the star.
                    taken.next();
                    (pattern, rest) = (behind.clone(), taken.clone());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("web", "web", true),
            ("web", "web1", false),
            ("web", "we", false),
            ("web*", "web", true),
            ("web*", "web-17", true),
            ("*b", "web", true),
            ("*b", "webs", false),
            ("w*b*", "wxbyb", true),
            ("a*b*c", "aXbXbXd", false),
            ("w?b", "web", true),
            ("w?b", "wb", false),
            ("?", "ä", true),
            ("*?", "", false),
            ("**", "any", true),
            ("/run/docker/netns/*", "/run/docker/netns/0a1b", true),
        ] {
            assert_eq!(Glob::new(pattern).matches(text), expected, "{pattern:?} {text:?}");
        }
    }

    /// What the pattern means, said the short and slow way.
    fn by_definition(pattern: &[char], text: &[char]) -> bool {
        match pattern {
            [] => text.is_empty(),
            ['*', rest @ ..] => (0..=text.len()).any(|taken| by_definition(rest, &text[taken..])),
            ['?', rest @ ..] => !text.is_empty() && by_definition(rest, &text[1..]),
            [c, rest @ ..] => text.first() == Some(c) && by_definition(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn a_pattern_means_what_its_definition_says(pattern in "[ab*?]{0,8}", text in "[ab]{0,10}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            let expected = by_definition(&chars(&pattern), &chars(&text));
            prop_assert_eq!(Glob::new(&pattern).matches(&text), expected);
        }
    }

    #[test]
    fn a_pattern_of_many_stars_takes_no_time() {
        let pattern = Glob::new(&"*a".repeat(5_000));
        assert!(!pattern.matches(&"b".repeat(10_000)));
        assert!(!Glob::new(&format!("{}b", "*a".repeat(50))).matches(&"a".repeat(10_000)));
    }
}
