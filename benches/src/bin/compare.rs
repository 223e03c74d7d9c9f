//! `make bench`: measures pgconvoy beside its peers, prints the table and the bar, writes them as Markdown, JSON and
//! a chart.

use clap::Parser;
use pgconvoy_benches::options::Options;
use pgconvoy_benches::{bar, compare, report};
use std::process::ExitCode;

fn main() -> ExitCode {
    let options = Options::parse();
    let results = match compare::run(&options) {
        Ok(results) => results,
        Err(problem) => {
            eprintln!("compare: {problem}");
            return ExitCode::FAILURE;
        }
    };
    let bar = bar::rows(&results);
    println!("\n{}", report::markdown(&results, &bar));
    match report::write(&options.out, &results, &bar) {
        Ok(()) => println!(
            "written: {0}/results.md, results.json, results.svg",
            options.out.display()
        ),
        Err(error) => {
            eprintln!("compare: write to {}: {error}", options.out.display());
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
