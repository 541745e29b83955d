//! Patterns of `--include` and `--exclude`: `*` is any text, slashes too, and `?` one character.

/// What is taken: all that no `exclude` matches, unless an `include` does.
#[derive(Clone, Debug, Default)]
pub(in crate::cli) struct Filter {
    pub(in crate::cli) include: Vec<String>,
    pub(in crate::cli) exclude: Vec<String>,
}

impl Filter {
    /// With includes alone, nothing else is taken.
    pub(in crate::cli) fn takes(&self, name: &str) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, name));
        if any(&self.include) {
            return true;
        }
        if self.exclude.is_empty() { self.include.is_empty() } else { !any(&self.exclude) }
    }

    /// Whether surely nothing is taken whose name begins with `prefix`: a pattern that matches it and
    /// ends with a star matches all that is longer.
    pub(in crate::cli) fn leaves_out(&self, prefix: &str) -> bool {
        let all = |pattern: &String| pattern.ends_with('*') && matches(pattern, prefix);
        self.include.is_empty() && self.exclude.iter().any(all)
    }
}

/// In linear memory and at most quadratic time, whatever the pattern.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                // The star takes one character more.
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    n = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks_match_as_in_other_tools() {
        for (pattern, name) in
            [("*.jpg", "a/b.jpg"), ("a?c", "abc"), ("*", ""), ("a*b*c", "aXbYbZc"), ("é*", "ét")]
        {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("*.jpg", "a.jpeg"), ("a?c", "ac"), ("", "a"), ("a*b", "ac")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
        let hard = "*a".repeat(50) + "b";
        assert!(!matches(&hard, &"a".repeat(500)), "without exploding");
    }

    #[test]
    fn includes_go_over_excludes() {
        let filter = |include: &[&str], exclude: &[&str]| Filter {
            include: include.iter().map(ToString::to_string).collect(),
            exclude: exclude.iter().map(ToString::to_string).collect(),
        };
        assert!(filter(&[], &[]).takes("x"));
        assert!(!filter(&[], &["*.tmp"]).takes("x.tmp"));
        assert!(filter(&["keep.tmp"], &["*.tmp"]).takes("keep.tmp"));
        assert!(filter(&[], &["a/*"]).leaves_out("a/") && !filter(&[], &["a/*"]).leaves_out("a"));
        assert!(!filter(&["*.jpg"], &["a/*"]).leaves_out("a/"), "an include goes over it");
        assert!(filter(&["*.jpg"], &[]).takes("x.jpg") && !filter(&["*.jpg"], &[]).takes("x.png"));
    }
}
