//! Names with `*` in them, which stands for any text. PURE.

/// A name, or a pattern of names. All else than `*` stands for itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern(Box<[u8]>);

impl Pattern {
    /// From its text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.as_bytes().into())
    }

    /// Whether it is one name alone.
    #[must_use]
    pub fn is_name(&self) -> bool {
        !self.0.contains(&b'*')
    }

    /// Whether the name fits. Takes at most as many steps as both lengths multiplied.
    #[must_use]
    pub fn fits(&self, name: &[u8]) -> bool {
        let (mut at, mut read) = (0, 0);
        // The last star, and where in the name what it stands for ends so far.
        let mut star: Option<(usize, usize)> = None;
        while read < name.len() {
            match (self.0.get(at), star) {
                (Some(b'*'), _) => {
                    star = Some((at, read));
                    at += 1;
                }
                (Some(b), _) if name.get(read) == Some(b) => {
                    at += 1;
                    read += 1;
                }
                (_, Some((back, end))) => {
                    star = Some((back, end + 1));
                    at = back + 1;
                    read = end + 1;
                }
                (_, None) => return false,
            }
        }
        self.0.iter().skip(at).all(|b| *b == b'*')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, fit, do_not) in [
            ("app", &["app"][..], &["", "ap", "apps", "App"][..]),
            ("*", &["", "app", "*"], &[]),
            ("app*", &["app", "application"], &["ap", "xapp"]),
            (
                "*_report",
                &["a_report", "_report_report"],
                &["report", "a_reports"],
            ),
            (
                "a*b*c",
                &["abc", "axxbxxc", "abcbc"],
                &["ab", "acb", "abcd"],
            ),
            ("**x", &["x", "xx"], &["", "xy"]),
            ("a.b", &["a.b"], &["axb"]),
        ] {
            let pattern = Pattern::new(pattern);
            for name in fit {
                assert!(pattern.fits(name.as_bytes()), "{pattern:?} {name}");
            }
            for name in do_not {
                assert!(!pattern.fits(name.as_bytes()), "{pattern:?} {name}");
            }
        }
        assert!(Pattern::new("a").is_name() && !Pattern::new("a*").is_name());
    }
}
