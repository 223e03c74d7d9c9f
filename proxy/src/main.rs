//! The command line.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};
use pgconvoy::app::{self, App};
use pgconvoy::router::{self, Catalog, Overrides as FunctionOverrides, Quoting, Router, Target};
use pgconvoy_config::{Environment, Loaded, Overrides, Problems, Settings, Sources};

/// One address in front of a PostgreSQL leader and its replicas.
///
/// Applications connect to pgconvoy as to a PostgreSQL server. It pools server connections, sends
/// writes to the leader and reads to the replicas, and follows the leader when it changes.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the proxy.
    ///
    /// Settings come from flags, then the environment (PGCONVOY_POOL_SIZE=50 is pool.size), then
    /// the file, then the defaults. SIGHUP reads them again; SIGTERM and SIGINT let transactions
    /// finish first, SIGQUIT does not. SIGUSR1 pauses, SIGUSR2 resumes.
    #[command(
        after_help = "Examples:\n  pgconvoy run --node 10.0.0.11:5432 --node 10.0.0.12:5432\n  \
                            pgconvoy run --config /etc/pgconvoy.toml"
    )]
    Run {
        #[command(flatten)]
        source: Source,
    },
    /// Check a configuration file and show every setting with its source.
    ///
    /// Each problem is one line: file, line, key, what is allowed, and the nearest known name.
    Check {
        /// The file to check.
        file: PathBuf,
    },
    /// Tell whether a statement may go to a replica, and why.
    ///
    /// By its text alone, as the statement of a new session. SHOW ROUTE in a session knows more: what
    /// keeps that session where it is, which nodes would do, what it has written.
    #[command(after_help = "Example:\n  pgconvoy route 'select nextval($1)'")]
    Route {
        /// The statement, or "-" for standard input.
        sql: String,
        /// Configuration file: what it says of functions counts.
        #[arg(short, long, value_name = "FILE", env = "PGCONVOY_CONFIG")]
        config: Option<PathBuf>,
    },
}

#[derive(Args, Clone)]
struct Source {
    /// Configuration file (TOML).
    #[arg(short, long, value_name = "FILE", env = "PGCONVOY_CONFIG")]
    config: Option<PathBuf>,
    /// A PostgreSQL server, as HOST:PORT; once for each. Which one leads is found out.
    #[arg(short, long, value_name = "HOST:PORT")]
    node: Vec<String>,
    /// Where clients connect [default: 127.0.0.1:5430].
    #[arg(short, long, value_name = "ADDRESS:PORT")]
    listen: Vec<String>,
    /// Where metrics and health are served, or "off" [default: 127.0.0.1:9719].
    #[arg(long, value_name = "ADDRESS:PORT")]
    http: Option<String>,
}

impl Source {
    fn load(&self) -> Result<Loaded, Problems> {
        Settings::load(&Sources {
            file: self.config.as_deref(),
            env: Environment::of_process(),
            flags: Overrides {
                nodes: self.node.clone(),
                listen: self.listen.clone(),
                http: self.http.clone(),
            },
        })
    }
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run { source } => run(source),
        Command::Check { file } => check(&file),
        Command::Route { sql, config } => route(sql, config.as_deref()),
    }
}

fn route(mut sql: String, config: Option<&Path>) -> ExitCode {
    let overrides = match config.map(load_file).transpose() {
        Ok(loaded) => {
            loaded.map_or_else(FunctionOverrides::default, |l| app::overrides(&l.settings))
        }
        Err(problems) => {
            eprintln!("{problems}");
            return ExitCode::from(2);
        }
    };
    if sql == "-" {
        sql.clear();
        if let Err(e) = std::io::stdin().read_to_string(&mut sql) {
            eprintln!("standard input could not be read: {e}");
            return ExitCode::FAILURE;
        }
    }
    // Nobody sends it shapes that collide.
    let mut router = Router::new([0, 0], 2);
    let catalog = Catalog::unread(Arc::new(overrides));
    let decision = router.decide_in(sql.as_bytes(), Quoting::Standard, Some(&catalog));
    let names = router::names(sql.as_bytes());
    let target = match (decision.local, decision.target) {
        (Some(_), _) => "pgconvoy",
        (None, Target::Primary) => "primary",
        (None, Target::Replica) => "replica",
    };
    println!("target     {target}");
    println!("reason     {}", decision.reason.as_str());
    for pin in decision.pins.iter() {
        println!("pins       {}", pin.as_str());
    }
    for function in names.functions {
        println!("function   {function}");
    }
    for relation in names.relations {
        println!("relation   {relation}");
    }
    ExitCode::SUCCESS
}

fn run(source: Source) -> ExitCode {
    let loaded = match source.load() {
        Ok(loaded) => loaded,
        Err(problems) => {
            eprintln!("{problems}");
            return ExitCode::from(2);
        }
    };
    let log = &loaded.settings.log;
    if let Err(problem) = app::log::start(&log.level, log.format) {
        eprintln!("{problem}");
        return ExitCode::from(2);
    }
    // A client and its server connection are a descriptor each; what the system grants is taken.
    if let Err(e) = rlimit::increase_nofile_limit(u64::MAX) {
        eprintln!("the limit of open files could not be raised: {e}");
    }
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("the system refused an event queue: {e}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(async {
        let app = App::start(loaded, Box::new(move || source.load()))?;
        app.run().await
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

fn load_file(file: &Path) -> Result<Loaded, Problems> {
    Settings::load(&Sources {
        file: Some(file),
        env: Environment::of_process(),
        flags: Overrides::default(),
    })
}

fn check(file: &Path) -> ExitCode {
    match load_file(file) {
        Ok(loaded) => {
            for row in loaded.describe() {
                println!("{} = {}  # {}", row.key, row.value, row.source);
            }
            ExitCode::SUCCESS
        }
        Err(problems) => {
            println!("{problems}");
            ExitCode::from(2)
        }
    }
}
