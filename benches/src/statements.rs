//! Statements as applications send them, for the micro benches. PURE.

/// pgbench's select.
pub fn pgbench(n: usize) -> String {
    format!("SELECT abalance FROM pgbench_accounts WHERE aid = {n};")
}

/// 200 bytes as an ORM writes them.
pub fn orm(n: usize) -> String {
    format!(
        "SELECT \"u\".\"id\", \"u\".\"email\", \"u\".\"name\", \"u\".\"country\", \"u\".\"created_at\" FROM \"users\" AS \"u\" \
         WHERE (\"u\".\"tenant_id\" = {n} AND \"u\".\"state\" = 'active') ORDER BY \"u\".\"name\" ASC, \"u\".\"id\" ASC LIMIT 21"
    )
}

/// 200 bytes whose shape is new for each `n`.
pub fn new_shape(n: usize) -> String {
    format!(
        "SELECT \"u\".\"id\" AS \"c{n}\", \"u\".\"email\", \"u\".\"name\", \"u\".\"country\", \"u\".\"age\" FROM \"users\" AS \"u\" \
         WHERE (\"u\".\"tenant_id\" = 42 AND \"u\".\"state\" = 'active') ORDER BY \"u\".\"name\" ASC, \"u\".\"id\" ASC LIMIT 21"
    )
}

/// A write, known by its first word.
pub fn insert(n: usize) -> String {
    format!("INSERT INTO orders (id, customer, total) VALUES ({n}, 'somebody', 12.50) RETURNING id")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_selects_that_the_bar_speaks_of_have_200_bytes() {
        for statement in [orm(12345), new_shape(12345)] {
            assert!(
                (190..=210).contains(&statement.len()),
                "{}",
                statement.len()
            );
        }
    }
}
