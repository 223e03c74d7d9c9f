//! What the oracle needs to know of a statement's text. Errs towards asking the servers.

/// What a statement is to the oracle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// SELECT, WITH, VALUES, TABLE, in brackets or not.
    Select,
    /// EXPLAIN, COPY to the client, SHOW: may be a read, too.
    OtherRead,
    /// Sets what the session's other connections have to be told of.
    Setting,
    /// Whatever else.
    Other,
}

/// The statement without the comments, white space and brackets before it.
fn begin(mut sql: &str) -> &str {
    loop {
        sql = sql.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '(');
        let end = if sql.starts_with("--") {
            sql.find('\n')
        } else if sql.starts_with("/*") {
            sql.find("*/").map(|at| at + 1)
        } else {
            return sql;
        };
        match end {
            Some(end) => sql = &sql[end + 1..],
            None => return "",
        }
    }
}

/// The words of a text in lower case, without looking at what is quoted.
fn words(sql: &str) -> impl Iterator<Item = String> {
    sql.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
}

/// See [`Kind`].
pub(super) fn kind(sql: &str) -> Kind {
    let mut words = words(begin(sql));
    let first = words.next().unwrap_or_default();
    let second = words.next().unwrap_or_default();
    match first.as_str() {
        "select" | "with" | "values" | "table" => Kind::Select,
        "explain" | "show" => Kind::OtherRead,
        "copy" if sql.to_ascii_lowercase().contains("stdout") => Kind::OtherRead,
        "set" if ["local", "transaction", "constraints"].contains(&second.as_str()) => Kind::Other,
        "set" | "reset" | "discard" | "load" => Kind::Setting,
        _ => Kind::Other,
    }
}

/// Whether the text has an ORDER BY outside of all brackets and quotes.
pub(super) fn is_ordered(sql: &str) -> bool {
    let mut depth = 0_i32;
    let mut quote = None;
    let mut flat = String::new();
    for c in sql.chars() {
        match (quote, c) {
            (Some(open), c) if open == c => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '(') => depth += 1,
            (None, ')') => depth -= 1,
            (None, c) if depth == 0 => flat.push(c.to_ascii_lowercase()),
            (None, _) => {}
        }
    }
    let words: Vec<String> = words(&flat).collect();
    words
        .windows(2)
        .any(|pair| pair[0] == "order" && pair[1] == "by")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_told_apart() {
        for (sql, expected) in [
            ("select 1", Kind::Select),
            ("-- x\n/* y */ ((Values (1)))", Kind::Select),
            ("table t", Kind::Select),
            ("copy t to stdout", Kind::OtherRead),
            ("copy t from stdin", Kind::Other),
            ("set a = 1", Kind::Setting),
            ("set local a = 1", Kind::Other),
            ("insert into t values (1)", Kind::Other),
            ("", Kind::Other),
        ] {
            assert_eq!(kind(sql), expected, "{sql}");
        }
    }

    #[test]
    fn only_an_order_of_the_whole_counts() {
        assert!(is_ordered("select a from t ORDER  BY a"));
        assert!(!is_ordered("select rank() over (order by a) from t"));
        assert!(!is_ordered("select 'order by'"));
    }
}
