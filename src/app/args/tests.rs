use super::*;
use clap::CommandFactory;

#[test]
fn the_grammar_is_sound() {
    Cli::command().debug_assert();
}

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split(' '))
}

#[test]
fn run_takes_what_the_readme_shows() {
    let cli = parse(
        "instructgpt run c/a.toml --out o --stage reward_model --set ppo.clip=0.1 --set seed=2 --threads 3",
    );
    let cli = cli.unwrap();
    assert_eq!(cli.threads, Some(3));
    let Command::Run(args) = cli.command else { panic!("run expected") };
    assert_eq!((args.stage, args.given.set.len(), args.resume), (Some(StageId::RewardModel), 2, false));
    assert!(!args.plan && args.out.is_some());
    assert_eq!(args.given.data_root(), PathBuf::from("c"));
}

#[test]
fn mistakes_exit_with_2_and_name_the_flag() {
    for (line, word) in [
        ("instructgpt run a.toml", "--out"),
        ("instructgpt run --plan", "CONFIG"),
        ("instructgpt run a.toml --out o --stage rm", "reward_model"),
        ("instructgpt sample --model m --prompt p --temperature -1", "--temperature"),
        ("instructgpt sample --model m --prompt p --top-p 0", "--top-p"),
        ("instructgpt sample --model m --prompt p -n 0", "-n"),
        ("instructgpt score --model m --precision fp16", "--precision"),
        ("instructgpt doctor --threads 0", "--threads"),
        ("instructgpt tokenise", "tokenize"),
        ("instructgpt evaluate --model m --task piqa --data d", "--out"),
        ("instructgpt evaluate --model m --task piqa --data d --out o --style gpt", "--style"),
        ("instructgpt evaluate --model m --task piqa --data d --out o --limit 0", "--limit"),
        ("instructgpt report", "<DIR>"),
        ("instructgpt verify", "--vectors"),
        ("instructgpt verify --vectors a --level X", "--level"),
        ("instructgpt verify --template numpy --json", "--json"),
        ("instructgpt report r --watch --csv c", "--csv"),
    ] {
        let error = parse(line).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(word), "{error}");
    }
}
