//! The report of a small project whose figures are counted by hand.

use super::super::item::Task;
use super::super::record::tests::{item, record};
use super::super::store::Store;
use super::*;

fn rank(id: &str, gold: Option<Vec<u32>>, screening: bool) -> Item {
    let gold = gold.map(|ranks| Answer::Ranking { ranks });
    // Response 2 is the longest.
    let responses = ["aa", "aa", "aaaa"].map(String::from).to_vec();
    Item { id: id.into(), gold, screening, responses, ..item(Task::Rank, 3) }
}

fn read(items: &[Item], said: &[(&str, usize, Answer)], settings: &Settings) -> Report {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open(directory.path()).unwrap();
    store.add_items(items).unwrap();
    for (number, (labeler, item, answer)) in (1..).zip(said) {
        let mut record = record(number, labeler, Some(&items[*item]), answer.clone());
        record.seconds = number as f64;
        // Bob sees all from the last to the first.
        if *labeler == "bob" {
            record.shown.reverse();
        }
        store.submit(&record, Some(&items[*item])).unwrap();
    }
    Report::of(&mut store, settings).unwrap()
}

fn report(items: &[Item], said: &[(&str, usize, Answer)], settings: &Settings) -> Vec<Table> {
    read(items, said, settings).tables()
}

#[track_caller]
fn row<'a>(tables: &'a [Table], title: &str, cells: &[&str]) -> &'a [String] {
    let table =
        tables.iter().find(|table| table.title.starts_with(title)).unwrap_or_else(|| panic!("{title}"));
    assert!(table.rows.iter().all(|row| row.len() == table.columns.len()), "{table:?}");
    let has = |row: &&Vec<String>| cells.iter().all(|cell| row.iter().any(|found| found.contains(cell)));
    table.rows.iter().find(has).unwrap_or_else(|| panic!("{cells:?} in {table:?}"))
}

fn ranking(ranks: [u32; 3]) -> Answer {
    Answer::Ranking { ranks: ranks.to_vec() }
}

#[test]
fn agreement_ties_and_baselines_are_counted() {
    let items = [rank("i", None, false), rank("j", None, false)];
    let said = [
        // Pairs 01, 02, 12. ann: first, first, tie; bob: second, first, first. One of two strict pairs is agreed on.
        ("ann", 0, ranking([1, 2, 2])),
        ("bob", 0, ranking([2, 1, 3])),
        // ann: all second; bob the same; eve, held out, all first.
        ("ann", 1, ranking([3, 2, 1])),
        ("bob", 1, ranking([3, 2, 1])),
        ("eve", 1, ranking([1, 2, 3])),
    ];
    let settings = Settings { held_out: ["eve".to_string()].into(), ..Settings::default() };
    let tables = report(&items, &said, &settings);
    let agreed = row(&tables, "Agreement on rankings", &["training", "both prefer one"]);
    assert!(
        agreed[2].starts_with("0.800 [") && agreed[3] == "5" && agreed[4].contains("0.726"),
        "{agreed:?}"
    );
    // (1 + 0 + 0.5 + 3) / 6
    let half = row(&tables, "Agreement on rankings", &["training", "half"]);
    assert!(half[2].starts_with("0.750 [") && half[3] == "6", "{half:?}");
    row(&tables, "Agreement by pair", &["ann and bob", "0.800", "5"]);
    row(&tables, "Agreement by pair", &["ann and eve", "0.000", "3"]);
    // 15 pairs, one tie. Of the 14, those with response 2 have a longer one: ann 02; bob 02, 12; then 2, 2, 2.
    row(&tables, "Rankings: ties", &["ties", "0.067", "15"]);
    row(&tables, "Rankings: ties", &["longer", "0.444", "9"]);
    // The first shown wins: ann 01, 02; bob, to whom it is the last, 01 and all of the second item; eve 3.
    row(&tables, "Rankings: ties", &["first", "0.643", "14"]);
    row(&tables, "What was labelled", &["rank", "5", "3", "0", "3.0"]);
}

#[test]
fn alpha_of_rankings_takes_a_tie_for_what_lies_between() {
    let items = [rank("i", None, false)];
    let said = [("ann", 0, ranking([1, 2, 2])), ("bob", 0, ranking([1, 2, 3]))];
    let tables = report(&items, &said, &Settings::default());
    let units = [vec![0, 0], vec![0, 0], vec![1, 0]];
    let expected = krippendorff_alpha(&units, Scale::Ordinal).unwrap();
    assert_eq!(row(&tables, "Agreement on rankings", &["alpha"])[2], format!("{expected:.3}"));
    assert_eq!(
        row(&tables, "Agreement on rankings", &["AC1"])[2],
        format!("{:.3}", gwet_ac1(&units, 3).unwrap())
    );
}

#[test]
fn ratings_have_means_and_agreement() {
    let items =
        [Item { id: "i".into(), ..item(Task::Rate, 1) }, Item { id: "j".into(), ..item(Task::Rate, 1) }];
    let rating = |overall, yes: bool| Answer::Rating {
        overall,
        questions: QUESTIONS.map(|name| (name.to_string(), yes && name == "sexual")).into(),
    };
    let said = [
        ("ann", 0, rating(6, true)),
        ("bob", 0, rating(6, true)),
        ("ann", 1, rating(2, false)),
        ("bob", 1, rating(2, false)),
    ];
    let tables = report(&items, &said, &Settings::default());
    let overall = row(&tables, "Ratings", &["overall"]);
    assert!(
        overall[1].starts_with("4.00 [") && overall[3] == "2" && overall[4].ends_with("1.000"),
        "{overall:?}"
    );
    let sexual = row(&tables, "Ratings", &["sexual"]);
    assert!(sexual[1].starts_with("0.500") && sexual[4].starts_with("AC1: 1.000"), "{sexual:?}");
    assert_eq!(tables.iter().find(|t| t.title.starts_with("Ratings")).unwrap().rows.len(), 12);
}

#[test]
fn what_is_known_is_compared() {
    let flag = |id: &str| Item {
        id: id.into(),
        gold: Some(Answer::Flag { sensitive: true }),
        screening: true,
        ..item(Task::Flag, 1)
    };
    let mut write = Item { id: "w".into(), screening: true, ..item(Task::Write, 0) };
    write.fields = Default::default();
    let written = Answer::Demonstration { response: "r".into() };
    let grading = write.grading(&format!("{:032x}", 5), "r");
    let items = [
        rank("gold", Some(vec![1, 2, 3]), false),
        rank("test", Some(vec![1, 2, 2]), true),
        flag("f"),
        flag("g"),
        write,
        grading,
    ];
    let grade = Answer::Rating { overall: 6, questions: Default::default() };
    let said = [
        ("ann", 0, ranking([1, 2, 2])),
        ("ann", 1, ranking([1, 3, 2])),
        ("ann", 2, Answer::Flag { sensitive: true }),
        ("ann", 3, Answer::Flag { sensitive: false }),
        ("ann", 4, written),
        ("eve", 5, grade),
    ];
    let tables = report(&items, &said, &Settings::default());
    let gold = row(&tables, "Gold", &["ann", "gold items"]);
    assert!(gold[3].starts_with("0.67"), "{gold:?}");
    let test = row(&tables, "Gold", &["ann", "screening"]);
    assert!(test[2].starts_with("0.50") && test[3].starts_with("1.00"), "{test:?}");
    assert!(test[5] == "6.00" && test[6] == "below one", "{test:?}");
    assert!(
        !tables.iter().any(|table| table.title.starts_with("Ratings")),
        "a grade is no rating of a response"
    );
}

#[test]
fn models_are_compared_where_items_say_who_wrote_what() {
    let mut of_models = rank("i", None, false);
    of_models.fields.insert("models".into(), json!(["a", "b", "a"]));
    let items = [of_models, rank("j", None, false)];
    // a beats b in pair 01, ties in pair 12; pair 02 is a model's own.
    let said = [("ann", 0, ranking([1, 2, 2])), ("ann", 1, ranking([1, 2, 3]))];
    let tables = report(&items, &said, &Settings::default());
    let a = row(&tables, "Models", &["a", "0.750"]);
    assert_eq!((a[0].as_str(), a[2].as_str()), ("a", "2"));
    row(&tables, "Models", &["b", "0.250", "2"]);
    let none = report(&items[1..], &[("ann", 0, ranking([1, 2, 3]))], &Settings::default());
    assert!(!none.iter().any(|table| table.title.starts_with("Models")));
}

#[test]
fn topics_say_what_a_team_lacks_and_refuse_nobody() {
    let coverage = |topics: &[&str], other: &str| Answer::Coverage {
        topics: topics.iter().map(|topic| topic.to_string()).collect(),
        other: other.into(),
    };
    let said =
        [("ann", 0, coverage(&["religion", "age"], "")), ("bob", 0, coverage(&["religion"], "dialects"))];
    let tables = report(&[Item::coverage()], &said, &Settings::default());
    let of = |topic: &str| row(&tables, "Topics", &[topic])[1..].to_vec();
    assert_eq!(of("religion"), ["2", "ann, bob"]);
    assert_eq!((of("age"), of("self harm")), (vec!["1".into(), "ann".into()], vec!["0".into(), "".into()]));
    assert_eq!(of("dialects"), ["1", "bob"]);
    let ann = row(&tables, "Gold", &["ann", "screening"]);
    assert_eq!((ann[6].as_str(), ann[7].as_str()), ("not complete", "2 of 11"));
}

#[test]
fn the_page_has_a_chart_of_each_measure_and_every_table() {
    let mut of_models = rank("j", None, false);
    of_models.fields.insert("models".into(), json!(["a", "b", "a"]));
    let items = [rank("i", None, false), of_models];
    let said = [
        ("<b>ann", 0, ranking([1, 2, 2])),
        ("bob", 0, ranking([2, 1, 3])),
        ("<b>ann", 1, ranking([1, 2, 3])),
        ("bob", 1, ranking([1, 2, 3])),
    ];
    let read = || read(&items, &said, &Settings::default());
    let (report, again) = (read(), read().html());
    let html = report.html();
    assert_eq!(html, again, "the same records give the same bytes");
    if let Ok(path) = std::env::var("REPORT_PREVIEW") {
        std::fs::write(path, &html).unwrap();
    }
    let figures: Vec<&str> =
        html.split("<figure>").skip(1).map(|figure| figure.split("</figure>").next().unwrap()).collect();
    let titles: Vec<&str> = figures.iter().map(|figure| &figure[4..figure.find("</h3>").unwrap()]).collect();
    let expected = [
        "Agreement on rankings",
        "Agreement by pair of labelers",
        "Rules that read nothing",
        "Models",
        "Time per record",
    ];
    assert_eq!(titles, expected);
    // Ours and the paper's, 72.6 +- 1.5 %, each with whiskers.
    assert!(figures[0].contains("<title>0.726 [0.711, 0.741]</title>"), "{}", figures[0]);
    assert!(figures[0].matches("<circle").count() == 2 && figures[0].contains("chance, 0.5"));
    assert!(figures[1].contains("0.726") && figures[1].contains("&lt;b&gt;ann / bob"), "{}", figures[1]);
    assert!(figures[4].contains("<title>2.500 [1.750, 3.250]</title>"), "{}", figures[4]);
    for table in report.tables() {
        assert!(html.contains(&format!("<caption>{}</caption>", crate::report::html::escape(&table.title))));
    }
    for outside in ["<script", " src=", "href=\"http", "<b>ann"] {
        assert!(!html.contains(outside), "{outside}");
    }
    let empty = Report::default().html();
    assert!(empty.contains("Nothing has been labelled yet") && !empty.contains("<figure"));
}

#[test]
fn the_chart_of_pairs_of_labelers_has_room_for_their_names() {
    let names = ["ann", "bob", "cat", "dan", "eve"];
    let said = names.map(|name| (name, 0, ranking([1, 2, 3])));
    let html = read(&[rank("i", None, false)], &said, &Settings::default()).html();
    let chart = html.split("<h3>Agreement by pair of labelers</h3>").nth(1).unwrap();
    let chart = chart.split("</figure>").next().unwrap();
    assert_eq!(chart.matches("<circle").count(), 6, "of 10 pairs: {chart}");
}
