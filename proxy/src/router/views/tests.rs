use super::*;
use crate::pattern::Pattern;
use crate::router::{FunctionRule, Quoting, Router, Runs};

fn view(name: &str, query: &str) -> Relation {
    Relation {
        name: name.to_owned(),
        query: Some(query.to_owned()),
    }
}

fn catalog() -> Catalog {
    read(&facts(), &Arc::default())
}

fn qualified(schema: &str, name: &str) -> Qualified {
    Qualified {
        schema: schema.to_owned(),
        name: name.to_owned(),
    }
}

fn bodies() -> Vec<(Qualified, String)> {
    let body = |(name, text): (&str, &str)| (qualified("public", name), text.to_owned());
    [
        (
            "reads",
            "select 1; select id from plain_table where id = $1",
        ),
        ("reads_reads", "select public.reads(1)"),
        ("inserts", "select 1; insert into t values (1)"),
        ("lies", "select pg_advisory_lock(1)"),
        ("believes", "select lies()"),
        ("recurses", "select recurses(x - 1)"),
        ("tenant", "select current_setting('app.tenant')"),
        ("reads_view", "select n from inner_view"),
        ("reads_deep", "select n from deep"),
        ("compares_badly", "select a @@ b"),
        ("nothing", ""),
        ("torn", "select 'x"),
    ]
    .map(body)
    .into()
}

/// Runs a user's function.
fn runs(name: &str, volatile: bool) -> Runs {
    Runs {
        function: qualified("public", name),
        volatile,
    }
}

fn functions() -> Vec<(Qualified, Runs)> {
    let function = |(schema, name, volatile): (&str, &str, bool)| {
        let function = qualified(schema, name);
        (function.clone(), Runs { function, volatile })
    };
    let all = [
        ("public", "stable_one", false),
        ("public", "mixed", false),
        ("other", "mixed", true),
        ("public", "lower", true),
        ("public", "writes", true),
        ("public", "pg_stat_reset", false),
        ("pg_catalog", "pg_stat_reset", true),
        ("pg_catalog", "random", true),
        ("public", "gives_unseen", false),
        ("public", "takes_small", false),
        ("public", "takes_loud", false),
    ];
    let of_bodies = bodies();
    let of_bodies = of_bodies
        .iter()
        .map(|(name, _)| ("public", name.name.as_str(), false));
    all.into_iter().chain(of_bodies).map(function).collect()
}

fn operators() -> Vec<(Qualified, Runs)> {
    [
        ("public", "<=>", false),
        ("public", "===", false),
        ("public", "@@", true),
        ("public", "~~*", true),
        ("one", "<~>", false),
        ("other", "<~>", true),
    ]
    .map(|(schema, name, volatile)| (qualified(schema, name), runs("of_operator", volatile)))
    .into_iter()
    .chain([(qualified("public", "=~="), runs("of_written", false))])
    .collect()
}

fn constraint(name: &str, number: i64, query: &str) -> Constraint {
    Constraint {
        name: name.to_owned(),
        number,
        query: query.to_owned(),
    }
}

fn facts() -> Facts {
    Facts {
        functions: functions(),
        operators: operators(),
        types: (["mood", "small", "loud", "smaller", "cast", "unseen"].iter())
            .map(|name| ((*name).to_owned(), true))
            .chain([("odd".to_owned(), false)])
            .collect(),
        casts: vec![("cast".to_owned(), runs("to_cast", true))],
        constraints: vec![
            constraint("small", 20, "SELECT (VALUE < 100)"),
            constraint("loud", 21, "SELECT public.writes(VALUE)"),
            constraint("smaller", 22, "SELECT (VALUE < 100::public.small)"),
        ],
        of_rows: vec![
            ("total".to_owned(), runs("total", true)),
            ("half".to_owned(), runs("half", false)),
        ],
        bodies: bodies(),
        opaque: vec![
            qualified("public", "mixed"),
            qualified("public", "of_written"),
        ],
        unseen: vec![(7, runs("shows", true)), (8, runs("compares", false))],
        unseen_of_types: vec![("unseen".to_owned(), 7), ("mood".to_owned(), 8)],
        unseen_of_relations: vec![("with_unseen".to_owned(), 7), ("t".to_owned(), 8)],
        unseen_of_functions: vec![
            (qualified("public", "gives_unseen"), 7),
            (qualified("public", "takes_small"), 22),
            (qualified("public", "takes_loud"), 21),
            (qualified("public", "stable_one"), 8),
        ],
        plain: Vec::new(),
        unlogged: false,
        relations: vec![
            view("outer_view", "SELECT n FROM public.inner_view"),
            view("inner_view", "SELECT public.stable_one(1) AS n;"),
            view("counted", "SELECT nextval('s'::regclass) AS n"),
            view("deep", "SELECT n FROM public.counted JOIN t ON true"),
            view("secret", "SELECT (owner = CURRENT_USER)"),
            view("secret", "SELECT public.writes(1)"),
            view("around", "SELECT n FROM around"),
            view("over_body", "SELECT public.reads_reads() AS n"),
            view("over_lie", "SELECT public.believes() AS n"),
            Relation {
                name: "fast".to_owned(),
                query: None,
            },
        ],
    }
}

fn decide(sql: &str) -> Decision {
    let catalog = catalog();
    Router::new([1, 2], 16).decide_in(sql.as_bytes(), Quoting::Standard, Some(&catalog))
}

#[test]
fn names_are_safe_when_all_that_they_may_stand_for_are() {
    for (sql, target) in [
        ("select stable_one(1)", Target::Replica),
        ("select public.stable_one(1) from t", Target::Replica),
        ("select Stable_One(1), upper('x')", Target::Replica),
        ("select mixed(1)", Target::Primary),
        ("select public.mixed(1)", Target::Replica),
        ("select other.mixed(1)", Target::Primary),
        ("select x.public.mixed(1)", Target::Primary),
        ("select t.mixed from t", Target::Primary),
        ("select (t).writes from t", Target::Primary),
        ("select (t).\"mixed\" from t", Target::Primary),
        ("select t.stable_one, t.mixt from t", Target::Replica),
        ("select lower('x')", Target::Primary),
        ("select unheard_of(1)", Target::Primary),
        ("select elsewhere.stable_one(1)", Target::Primary),
        ("select * from stable_one(1)", Target::Replica),
        ("select * from public.stable_one(1) g", Target::Replica),
        ("select a === b, a <=> b from t", Target::Replica),
        ("select a @@ b from t", Target::Primary),
        ("select a <<<>>> b from t", Target::Primary),
        ("select a ilike b from t", Target::Primary),
        ("select a like b, a in (b) from t", Target::Replica),
        ("select 'happy'::mood, mood 'sad'", Target::Replica),
        ("select 'x'::odd", Target::Primary),
        ("select 'x'::public.mood", Target::Replica),
        ("select 'x'::public.odd", Target::Primary),
        ("select 'x'::public.unheard_of", Target::Primary),
        ("select a OPERATOR(one.<~>) b from t", Target::Replica),
        ("select a OPERATOR(\"one\".<~>) b from t", Target::Replica),
        ("select a OPERATOR(other.<~>) b from t", Target::Primary),
        ("select a OPERATOR(elsewhere.<~>) b from t", Target::Primary),
        ("select a <~> b from t", Target::Primary),
        ("select a OPERATOR(pg_catalog.=) b from t", Target::Replica),
        (
            "select a OPERATOR(pg_catalog.===) b from t",
            Target::Primary,
        ),
        ("select a OPERATOR(x.one.<~>) b from t", Target::Primary),
        ("select 7::small, 5::smaller", Target::Replica),
        ("select 7::loud", Target::Primary),
        ("select 7::cast", Target::Primary),
        ("select 7::unseen", Target::Primary),
        ("select gives_unseen(1)", Target::Primary),
        ("select takes_small(1)", Target::Replica),
        ("select takes_loud(1)", Target::Primary),
        ("select nextval('s')", Target::Primary),
        ("select pg_stat_reset()", Target::Primary),
        ("select \"a\"\"b\" from t", Target::Primary),
    ] {
        assert_eq!(decide(sql).target, target, "{sql}");
    }
}

#[test]
fn functions_in_sql_are_followed_to_what_they_call() {
    for (name, target) in [
        ("reads", Target::Replica),
        ("reads_reads", Target::Replica),
        ("public.reads_reads", Target::Replica),
        ("inserts", Target::Primary),
        ("lies", Target::Primary),
        ("believes", Target::Primary),
        ("recurses", Target::Replica),
        ("tenant", Target::Replica),
        ("reads_view", Target::Replica),
        ("reads_deep", Target::Primary),
        ("compares_badly", Target::Primary),
        ("nothing", Target::Replica),
        ("torn", Target::Replica),
    ] {
        assert_eq!(
            decide(&format!("select {name}(1)")).target,
            target,
            "{name}"
        );
    }
    assert_eq!(decide("select n from over_body").target, Target::Replica);
    assert_eq!(decide("select n from over_lie").target, Target::Primary);
}

#[test]
fn relations_are_followed_to_what_they_call() {
    for (sql, target) in [
        ("select * from outer_view", Target::Replica),
        ("select * from \"inner_view\" v", Target::Replica),
        ("select * from deep", Target::Primary),
        (
            "select 1 where exists (table public.Counted)",
            Target::Primary,
        ),
        (
            "with x as (select * from deep) select * from x",
            Target::Primary,
        ),
        ("select * from secret", Target::Primary),
        ("select * from around", Target::Primary),
        ("select * from fast", Target::Primary),
        ("copy fast to stdout", Target::Primary),
        (
            "explain select * from (t join fast on true)",
            Target::Primary,
        ),
        ("select * from with_unseen", Target::Primary),
        ("select t.total from t", Target::Primary),
        ("select t.half from t", Target::Replica),
        ("select * from t", Target::Replica),
    ] {
        let decision = decide(sql);
        assert_eq!(decision.target, target, "{sql}");
        if target == Target::Primary {
            assert_eq!(decision.reason, Reason::Relation, "{sql}");
        }
    }
}

#[test]
fn decisions_are_remembered_for_one_catalog() {
    let (one, other) = (catalog(), read(&Facts::default(), &Arc::default()));
    assert_eq!(one.version(), catalog().version());
    assert_ne!(one.version(), other.version());
    let mut router = Router::new([1, 2], 16);
    let mut decide = |catalog: Option<&Catalog>| {
        let sql = b"select stable_one(1)";
        router.decide_in(sql, Quoting::Standard, catalog).target
    };
    for _ in 0..2 {
        assert_eq!(decide(Some(&one)), Target::Replica);
        assert_eq!(decide(Some(&other)), Target::Primary);
        assert_eq!(decide(None), Target::Primary);
    }
}

fn rules(names: &[&str]) -> Vec<FunctionRule> {
    let rule = |name: &&str| {
        let (schema, name) = name.split_once('.').unwrap_or(("", name));
        FunctionRule {
            schema: (!schema.is_empty()).then(|| Pattern::new(schema)),
            name: Pattern::new(name),
        }
    };
    names.iter().map(rule).collect()
}

#[test]
fn overrides_count_wherever_functions_are_run() {
    let overrides = Arc::new(Overrides {
        read_only: rules(&[
            "writes",
            "other.*",
            "of_operator",
            "to_*",
            "shows",
            "nextval",
        ]),
        write: rules(&["public.stable_one", "compares", "upper", "other.no*"]),
    });
    let catalog = read(&facts(), &overrides);
    let unread = Catalog::unread(Arc::clone(&overrides));
    let mut router = Router::new([1, 2], 64);
    for (sql, known, unknown) in [
        ("select writes(1)", Target::Replica, Target::Replica),
        (
            "select mixed(1), other.mixed(1)",
            Target::Replica,
            Target::Primary,
        ),
        ("select other.mixed(1)", Target::Replica, Target::Replica),
        ("select other.not_this(1)", Target::Primary, Target::Primary),
        ("select stable_one(1)", Target::Primary, Target::Primary),
        ("select upper('x')", Target::Primary, Target::Primary),
        ("select lower('x')", Target::Primary, Target::Replica),
        ("select nextval('s')", Target::Replica, Target::Replica),
        ("select setval('s', 1)", Target::Primary, Target::Primary),
        (
            "select a <=> b, a @@ b from u",
            Target::Replica,
            Target::Replica,
        ),
        ("select 7::cast", Target::Replica, Target::Primary),
        ("select 7::unseen", Target::Replica, Target::Primary),
        ("select 7::loud", Target::Replica, Target::Primary),
        ("select 'happy'::mood", Target::Primary, Target::Primary),
        ("select * from secret", Target::Replica, Target::Replica),
        ("select * from counted", Target::Replica, Target::Replica),
        ("select * from inner_view", Target::Primary, Target::Replica),
        (
            "select * from with_unseen",
            Target::Replica,
            Target::Replica,
        ),
        ("select * from t", Target::Primary, Target::Replica),
    ] {
        let mut decide = |catalog| {
            router
                .decide_in(sql.as_bytes(), Quoting::Standard, Some(catalog))
                .target
        };
        assert_eq!(decide(&catalog), known, "{sql}");
        assert_eq!(decide(&unread), unknown, "unread: {sql}");
    }
    let written = router.decide_in(b"select stable_one(1)", Quoting::Standard, Some(&catalog));
    assert!(written.writes && written.reason == Reason::WriteFunction);
}

#[test]
fn what_is_written_in_c_is_believed_for_the_session_too() {
    for (sql, unseen) in [
        ("select 1 from t where a = b", false),
        ("select stable_one(1)", false),
        ("select public.stable_one(1)", false),
        ("select a === b from t", false),
        ("select 'happy'::mood", false),
        ("select public.mixed(1)", true),
        ("select a =~= b from t", true),
        ("select 7::small", true),
    ] {
        let decision = decide(sql);
        assert_eq!(
            (decision.target, decision.unseen),
            (Target::Replica, unseen),
            "{sql}"
        );
    }
}
