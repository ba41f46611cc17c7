//! Topics and topic filters, MQTT 3.1.1 chapter 4.7.

/// Whether the filter has the topic. A filter that begins with a wildcard has no topic that
/// begins with `$`.
#[must_use]
pub fn has(filter: &str, topic: &str) -> bool {
    covers(filter, topic)
}

/// Whether everything that the filter `asked` has is in the filter `allowed` too: whoever may
/// read `allowed` may subscribe to `asked`.
#[must_use]
pub fn covers(allowed: &str, asked: &str) -> bool {
    if asked.starts_with('$') && !allowed.starts_with('$') {
        return false;
    }
    let (mut allowed, mut asked) = (allowed.split('/'), asked.split('/'));
    loop {
        match (allowed.next(), asked.next()) {
            // `a/#` has `a` as well.
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(level)) if level != "#" => {}
            (Some(same), Some(level)) if same == level => {}
            _ => return false,
        }
    }
}

/// Whether the text may be published on: not empty, and without wildcards.
#[must_use]
pub fn is_topic(text: &str) -> bool {
    !text.is_empty() && !text.contains(['+', '#', '\0'])
}

/// Whether the text is a filter: a wildcard stands for whole levels, and `#` is the last one.
#[must_use]
pub fn is_filter(text: &str) -> bool {
    let mut levels = text.split('/').peekable();
    !text.is_empty()
        && !text.contains('\0')
        && std::iter::from_fn(|| levels.next().map(|level| (level, levels.peek().is_none()))).all(
            |(level, last)| match level {
                "#" => last,
                "+" => true,
                literal => !literal.contains(['+', '#']),
            },
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_has_its_topics() {
        for (filter, topic, expected) in [
            ("a/b", "a/b", true),
            ("a/b", "a/B", false),
            ("a/b", "a", false),
            ("a", "a/b", false),
            ("a/+", "a/b", true),
            ("a/+", "a/", true),
            ("a/+", "a", false),
            ("a/+", "a/b/c", false),
            ("a/+/c", "a/b/c", true),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("a/#", "ab", false),
            ("#", "a/b", true),
            ("#", "$SYS/a", false),
            ("+/a", "$SYS/a", false),
            ("$SYS/#", "$SYS/a", true),
            ("+", "a", true),
            ("+", "/a", false),
            ("+/+", "/a", true),
        ] {
            assert_eq!(has(filter, topic), expected, "{filter} {topic}");
        }
    }

    #[test]
    fn nobody_subscribes_to_more_than_is_allowed() {
        for (allowed, asked, expected) in [
            ("a/#", "#", false),
            ("a/#", "a/#", true),
            ("a/#", "a/+/c", true),
            ("a/#", "a/b/#", true),
            ("a/#", "+/b", false),
            ("a/#", "$share/g/a/b", false),
            ("#", "$share/g/a/b", false),
            ("a/+", "a/+", true),
            ("a/+", "a/#", false),
            ("a/+", "a/b", true),
            ("a/+/c", "a/+/+", false),
            ("a/b", "a/+", false),
            ("a/b", "a/b", true),
            ("a/b/#", "a/#", false),
            ("a/b/#", "a/b", true),
        ] {
            assert_eq!(covers(allowed, asked), expected, "{allowed} {asked}");
        }
    }

    #[test]
    fn wildcards_stand_for_whole_levels() {
        for good in ["#", "+", "a/#", "+/a/+", "/", "a//b", "$share/g/a"] {
            assert!(is_filter(good), "{good}");
        }
        for bad in ["", "a#", "#/a", "a/#/b", "a+", "+a/b", "a\0b"] {
            assert!(!is_filter(bad), "{bad}");
        }
        assert!(is_topic("a/b") && !is_topic("a/+") && !is_topic("") && !is_topic("#"));
    }
}
