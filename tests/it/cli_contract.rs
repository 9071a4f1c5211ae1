//! Contracts and opportunities as people run them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop")]

use std::fmt::Write;

use serde_json::Value;

use crate::btyd::{assert_close, golden_json};
use crate::cli::{OPS, Place, run};

/// The regular cohort of Fader and Hardie (2007), as a table, with a younger one beside it.
fn cohorts(name: &str) -> String {
    let golden = golden_json("contractual_sbg_bdw.json");
    let mut text = "cohort,period,customers,remark\n".to_owned();
    for (period, n) in golden[name]["alive_per_1000"].as_array().unwrap()[..8].iter().enumerate() {
        writeln!(text, "{name},{period},{n},x").unwrap();
    }
    text
}

#[test]
fn contracts_are_fitted_and_projected() {
    let place = Place::new();
    let file = place.file("cohorts.csv", &cohorts("regular"));
    let golden = golden_json("contractual_sbg_bdw.json");
    let want = &golden["regular"];
    let args = ["contract", "--cohorts", &file, "--prior", "none", "--discount", "0.1"];
    let more = ["--margin", "20", "--periods", "5", "--model", "sbg", "--json"];
    let json = run(OPS, &[&args[..], &more[..]].concat()).json();
    let number = |value: &Value| value.as_f64().unwrap();
    assert_eq!(json["chosen"], "sBG");
    let [sbg, bdw] = &json["models"].as_array().unwrap()[..] else { panic!("{json}") };
    for (found, want) in [(sbg, &want["sbg"]), (bdw, &want["bdw"])] {
        assert!((number(&found["log_likelihood"]) - number(&want["ll"])).abs() < 1e-6);
        assert_close("alpha", number(&found["params"]["alpha"]), number(&want["alpha"]), 1e-5);
        assert!(number(&found["standard_errors"]["alpha"]) > 0.0);
    }
    let curve = json["curve"].as_array().unwrap();
    assert_eq!(curve.len(), 12);
    for (t, row) in (1..).zip(curve) {
        assert!((number(&row["survival"]) - number(&want["sbg_survival"][t])).abs() < 1e-6);
        assert!((number(&row["retention"]) - number(&want["sbg_retention"][t - 1])).abs() < 1e-6);
        assert_eq!(row["observed_retention"].is_null(), t > 7);
    }
    let cohort = &json["by_cohort"][0];
    assert_eq!((&cohort["renewals"], &cohort["customers"]), (&7.into(), &241.into()));
    let lifetime = number(&cohort["discounted_lifetime"]);
    assert_close("lifetime", lifetime, number(&want["derl_d10"]["8"]), 1e-5);
    assert_close("value", number(&cohort["value_all"]), 241.0 * 20.0 * lifetime, 1e-12);
    let new = number(&json["new_customer_value"]);
    assert_close("new", new, 20.0 * (1.0 + number(&want["derl_d10"]["1"]) / 1.1), 1e-5);

    // As text, with the model chosen by the program: BdW must earn its third parameter.
    let ran = run(OPS, &["contract", "--cohorts", &file]);
    ran.expect(0, &[]);
    for part in ["1 cohorts, 1000 customers", "sBG: log-likelihood -1680.2", "by sBG:", "0.6310"] {
        assert!(ran.out.contains(part), "{part:?} is not in {}", ran.out);
    }
    let file = place.file("highend.csv", &cohorts("highend"));
    let json = run(OPS, &["contract", "--cohorts", &file, "--json"]).json();
    assert_eq!(json["chosen"], "BdW");
    assert!(json["by_cohort"][0].get("discounted_lifetime").is_none());
}

#[test]
fn tables_of_cohorts_that_contradict_themselves_are_named() {
    let place = Place::new();
    let head = "cohort,period,customers\n";
    for (rows, code, part) in [
        ("a,0,10\na,1,12\n", 65, "cohort \"a\", period 1: 12 customers remain, more than the 10"),
        ("a,0,10\na,2,8\n", 65, "goes from period 0 to period 2"),
        ("a,0,10\na,1,8\na,1,7\n", 65, "line 4: cohort \"a\" has period 1 already"),
        ("a,0,ten\na,1,8\n", 65, "line 2: column \"customers\": \"ten\" is not a whole number"),
        ("a,0,10\na,-1,8\n", 65, "line 3: column \"period\": \"-1\""),
        ("a,0,10\n", 65, "no rows to fit"),
        ("a,0,0\na,1,0\n", 65, "no customers to begin with"),
        ("", 65, "no rows below"),
        ("a,0,10\na,1\n", 65, "found record with 2 fields"),
    ] {
        let file = place.file("bad.csv", &format!("{head}{rows}"));
        run(OPS, &["contract", "--cohorts", &file]).expect(code, &[part]);
    }
    let file = place.file("bad.csv", "cohort,month,customers\na,0,10\n");
    run(OPS, &["contract", "--cohorts", &file]).expect(65, &["no column \"period\""]);
    run(OPS, &["contract", "--cohorts", &place.path("none.csv")]).expect(64, &["none.csv"]);
    run(OPS, &["contract"]).expect(64, &["--cohorts"]);
    let file = place.file("good.csv", &format!("{head}a,0,10\na,1,8\n"));
    let args = ["contract", "--cohorts", &file, "--margin", "5"];
    run(OPS, &args).expect(64, &["--margin needs --discount"]);
    run(OPS, &[&args[..], &["--discount", "0"]].concat()).expect(64, &["0.0001"]);
    run(OPS, &["contract", "--cohorts", &file, "--prior", "none"]).expect(65, &["no optimum"]);
}

/// The donations of Fader, Hardie and Shang (2010), one row a donor.
fn donors() -> String {
    let table = crate::btyd::Table::golden("donations_bgbb_predictions.csv");
    let mut text = "customer,n,x,t_x\n".to_owned();
    let mut id = 0;
    for row in &table.rows {
        for _ in 0..crate::btyd::whole(row[3]) {
            id += 1;
            writeln!(text, "d{id},{},{},{}", row[2], row[0], row[1]).unwrap();
        }
    }
    text
}

#[test]
fn opportunities_are_fitted_and_predicted() {
    let place = Place::new();
    let (file, out) = (place.file("donors.csv", &donors()), place.path("ahead.csv"));
    let args = ["opportunities", "--table", &file, "--periods", "5", "--prior", "none"];
    let more = ["--discount", "0.1", "--out", &out, "--json"];
    let json = run(OPS, &[&args[..], &more[..]].concat()).json();
    let golden = &golden_json("discrete.json")["bgbb"];
    let number = |value: &Value| value.as_f64().unwrap();
    for name in ["alpha", "beta", "gamma", "delta"] {
        let found = number(&json["fit"]["params"][name]);
        assert_close(name, found, number(&golden["params"][name]), 1e-6);
    }
    assert_eq!((&json["customers"], &json["distinct_rows"]), (&11_104.into(), &22.into()));
    assert_close("all", number(&json["expected_transactions"]), 12_884.2, 1e-4);

    let written = std::fs::read_to_string(&out).unwrap();
    let table = crate::btyd::Table::golden("donations_bgbb_predictions.csv");
    let lines: Vec<Vec<&str>> = written.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(lines.len(), 11_105);
    assert_eq!(lines[0][0..4], ["customer", "x", "t_x", "n"]);
    // The last rows of both tables are the same donor.
    let (last, want) = (lines.last().unwrap(), table.rows.last().unwrap());
    let field = |at: usize| last[at].parse::<f64>().unwrap();
    assert_eq!((last[0], last[1]), ("d11104", "6"));
    assert_close("alive", field(4), want[table.column("palive_at_n")], 1e-6);
    assert_close("next", field(5), want[table.column("palive_next_period")], 1e-6);
    assert_close("expected", field(7), want[table.column("cet5")], 1e-6);
    assert!(field(8) > field(7) && field(6) < 0.2);
    let total: f64 = lines[1..].iter().map(|line| line[7].parse::<f64>().unwrap()).sum();
    assert_close("sum", total, number(&json["expected_transactions"]), 1e-9);

    let ran = run(OPS, &["opportunities", "--table", &file]);
    ran.expect(0, &[]);
    assert!(ran.out.contains("11104 customers, 22 distinct rows"), "{}", ran.out);
}

#[test]
fn tables_of_opportunities_that_contradict_themselves_are_named() {
    let place = Place::new();
    for (row, part) in [
        ("a,3,2,6", "line 3: x = 3, t_x = 2, n = 6: x must not exceed t_x"),
        ("a,1,7,6", "t_x must not exceed t"),
        ("a,1,2,20000", "column \"n\": \"20000\" is not a whole number from 0 to 10000"),
        ("a,1.5,2,6", "column \"x\": \"1.5\""),
    ] {
        let file = place.file("bad.csv", &format!("customer,x,t_x,n\nb,1,2,6\n{row}\n"));
        let out = place.path("out.csv");
        run(OPS, &["opportunities", "--table", &file, "--out", &out]).expect(65, &[part]);
        assert!(std::fs::metadata(&out).is_err());
    }
    let file = place.file("good.csv", "customer,x,t_x,n\nb,1,2,6\nc,0,0,6\n");
    let args = ["opportunities", "--table", &file, "--out"];
    run(OPS, &[&args[..], &[&place.path("out.txt")]].concat()).expect(64, &[".csv"]);
    run(OPS, &[&args[..], &[&place.path("none/out.csv")]].concat()).expect(1, &["writing"]);
}
