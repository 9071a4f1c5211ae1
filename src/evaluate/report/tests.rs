use serde_json::{Value, json};

use super::{model_card, render};

/// Two bundles from before there were plots, then one of a log and one of a table with them.
const SAMPLES: [[&str; 2]; 4] = [
    [
        include_str!("../../../tests/golden/report/cdnow_manifest.json"),
        include_str!("../../../tests/golden/report/cdnow.json"),
    ],
    [
        include_str!("../../../tests/golden/report/journey_manifest.json"),
        include_str!("../../../tests/golden/report/journey.json"),
    ],
    [
        include_str!("../../../tests/golden/report/sample_manifest.json"),
        include_str!("../../../tests/golden/report/sample.json"),
    ],
    [
        include_str!("../../../tests/golden/report/telco_manifest.json"),
        include_str!("../../../tests/golden/report/telco.json"),
    ],
];
/// The samples without plots.
const OLD: usize = 2;
/// The sample of a log with plots.
const LOG: usize = 2;
/// The sample of a table with plots.
const TABLE: usize = 3;

/// A page is read on phones, too.
const PAGE_BYTES_MAX: usize = 1_500_000;
/// Elements that have no end tag.
const VOID: [&str; 2] = ["meta", "br"];

fn sample(idx: usize) -> [Value; 2] {
    SAMPLES[idx].map(|text| serde_json::from_str(text).unwrap())
}

/// Renders, and checks what must hold of every page. Gives the page.
fn check([manifest, metrics]: &[Value; 2]) -> String {
    let page = render(manifest, metrics).unwrap();
    for part in ["://", "src=", "url(", "@import", "<script", "<link", "<img"] {
        assert!(!page.contains(part), "{part} in the page");
    }
    for word in visible(&page).split(|c: char| !c.is_alphanumeric()) {
        let machine = ["NaN", "nan", "null", "None", "none", "undefined", "inf", "true", "false"];
        assert!(!machine.contains(&word), "{word} in the text");
    }
    assert_eq!(open_tags(&page), Vec::<String>::new());
    check_figures(&page);
    check_card(&model_card(manifest, metrics).unwrap());
    page
}

/// Every drawing has a name and a description of its own, and every figure says how to read it.
fn check_figures(page: &str) {
    let mut ids: Vec<&str> = page
        .split(" id=\"")
        .skip(1)
        .filter_map(|rest| rest.split_once('"').map(|(id, _)| id))
        .collect();
    let drawings = page.matches("role=\"img\"").count();
    assert_eq!(ids.iter().filter(|id| id.ends_with("-title")).count(), drawings);
    assert_eq!(ids.iter().filter(|id| id.ends_with("-desc")).count(), drawings);
    assert_eq!(page.matches("<figure").count(), page.matches("<figcaption>").count());
    let n_ids = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), n_ids, "an id stands twice");
    assert!(page.len() < PAGE_BYTES_MAX, "{} bytes", page.len());
}

/// What must hold of every model card.
fn check_card(card: &str) {
    let heads: Vec<&str> = card.lines().filter(|line| line.starts_with("## ")).collect();
    for head in ["Intended use", "Data", "Label", "How it was judged", "Limits", "People"] {
        assert_eq!(heads.iter().filter(|h| h[3..].starts_with(head)).count(), 1, "{head}");
    }
    let parts: Vec<&str> = card.split("```").collect();
    assert_eq!(parts.len(), 3, "one block of code");
    assert!(![parts[0], parts[2]].concat().contains('<'), "no element: {card}");
    for word in card.split(|c: char| !c.is_alphanumeric()) {
        let machine = ["NaN", "null", "None", "undefined", "inf"];
        assert!(!machine.contains(&word), "{word} in the card");
    }
    // A table is whole: all its rows have as many cells as its head.
    let mut wanted = None;
    for line in card.lines() {
        let cells = line.replace("\\|", "").matches('|').count();
        wanted = line.starts_with('|').then(|| *wanted.get_or_insert(cells));
        assert!(wanted.is_none_or(|wanted| wanted == cells), "{line}");
    }
}

/// The tags of a page, without their brackets.
fn tags(page: &str) -> impl Iterator<Item = &str> {
    page.split('<').skip(1).filter_map(|rest| rest.split_once('>')).map(|(tag, _)| tag)
}

/// The text between tags, without the style sheet.
fn visible(page: &str) -> String {
    let (_, body) = page.split_once("</style>").unwrap();
    body.split('<').filter_map(|rest| rest.split_once('>')).map(|(_, text)| text).collect()
}

/// Elements that are still open at the end; panics where an end tag does not fit.
fn open_tags(page: &str) -> Vec<String> {
    let mut open: Vec<String> = Vec::new();
    for tag in tags(page).filter(|tag| !tag.starts_with('!') && !tag.ends_with('/')) {
        let name = tag.split_whitespace().next().unwrap_or_default();
        if let Some(closed) = name.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(closed), "end tag in {tag:?}");
        } else if !VOID.contains(&name) {
            open.push(name.to_owned());
        }
    }
    open
}

#[test]
fn the_samples_show_every_section() {
    for idx in 0..OLD {
        let page = check(&sample(idx));
        assert_eq!(page.matches("class=\"judged\" x=\"0\"").count(), 1, "its legend");
        assert_eq!(page.matches("role=\"img\"").count(), 3);
        assert_eq!(page.matches("<title id=").count(), 3);
        assert_eq!(page.matches("class=\"bubble\"").count(), 10);
        for head in ["Log loss", "Gini", "Risk tiers", "BG&#x2f;NBD", "What the grade means"] {
            assert!(page.contains(head), "{head}");
        }
        assert!(!page.contains("class=\"empty\""), "sample {idx} has all sections");
        // One champion for churn, one for value.
        assert_eq!(page.matches("<tr class=\"champion\">").count(), 2);
        assert_eq!(page.matches("<tr class=\"reference\">").count(), 3);
    }
}

#[test]
fn the_numbers_are_those_of_the_metrics() {
    let cdnow = visible(&check(&sample(0)));
    for text in [
        "23,570",
        "681,200\u{a0}USD",
        "0.748",
        "0.3988",
        "32.4\u{a0}%",
        "90.8\u{a0}%",
        "48.8\u{a0}%",
    ] {
        assert!(cdnow.contains(text), "{text}");
    }
    assert!(cdnow.contains("few who stayed"), "most left: those who stay are rarer");
    assert!(cdnow.contains("is extrapolated: spend could be judged over 91\u{a0}days only"));
    assert!(cdnow.contains("judged on one window"));
    let journey = visible(&check(&sample(1)));
    assert!(journey.contains("38.3\u{a0}% of all who left"));
    assert!(journey.contains("Several windows were used"));
    assert!(journey.contains("prior decides log s"));
    assert!(journey.contains("drawn after it"), "the plot shows the recalibrated probabilities");
}

#[test]
fn the_same_documents_give_the_same_bytes() {
    let sample = sample(1);
    assert_eq!(check(&sample), check(&sample));
}

#[test]
fn further_horizons_have_rows_and_one_without_a_window_says_why() {
    let [manifest, mut metrics] = sample(LOG);
    assert!(!check(&[manifest.clone(), metrics.clone()]).contains("Further horizons"));
    metrics["churn"]["horizons"] = json!([
        { "days": 30, "champion": "blend", "auc": 0.871, "log_loss": 0.2045, "ece": 0.0071,
          "base_rate_log_loss": 0.3047, "customers": 2357, "cutoff": "1997-12-01", "note": "kept" },
        { "days": 720, "champion": "btyd", "auc": null, "log_loss": null, "ece": null,
          "base_rate_log_loss": null, "customers": 0, "cutoff": null, "note": "closed form" },
    ]);
    let page = visible(&check(&[manifest, metrics]));
    for text in ["Further horizons", "720", "0.871", "0.2045", "0.3047", "0.0071", "closed form"] {
        assert!(page.contains(text), "{text}");
    }
}

/// Calls `change` with every place of a document.
fn each_place(value: &Value, path: &str, change: &mut dyn FnMut(&str)) {
    change(path);
    match value {
        Value::Object(entries) => {
            entries.iter().for_each(|(key, v)| each_place(v, &format!("{path}/{key}"), change));
        }
        Value::Array(items) => {
            for (idx, item) in items.iter().enumerate() {
                each_place(item, &format!("{path}/{idx}"), change);
            }
        }
        _ => {}
    }
}

/// Replaces every text of a document.
fn with_texts(value: &mut Value, text: &str) {
    match value {
        Value::String(held) => text.clone_into(held),
        Value::Object(entries) => entries.values_mut().for_each(|v| with_texts(v, text)),
        Value::Array(items) => items.iter_mut().for_each(|v| with_texts(v, text)),
        _ => {}
    }
}

#[test]
fn texts_of_users_are_escaped_wherever_they_stand() {
    let hostile = "</title><script>alert('x')</script>\"><b onclick=\"y\">&amp;";
    for idx in 0..SAMPLES.len() {
        let [mut manifest, mut metrics] = sample(idx);
        let plain = open_tags(&check(&[manifest.clone(), metrics.clone()]));
        let known: Vec<String> = tags(&check(&sample(idx)))
            .map(|tag| tag.split_whitespace().next().unwrap_or_default().to_owned())
            .collect();
        with_texts(&mut manifest, hostile);
        with_texts(&mut metrics, hostile);
        let page = check(&[manifest, metrics]);
        assert!(page.contains("&lt;script&gt;alert"), "the name is shown as text");
        assert_eq!(open_tags(&page), plain);
        for tag in tags(&page) {
            let name = tag.split_whitespace().next().unwrap_or_default().to_owned();
            assert!(known.contains(&name), "new tag {tag:?}");
            assert!(!tag.contains("onclick=\"") && !tag.contains("alert('"), "{tag}");
        }
    }
    let [mut manifest, mut metrics] = sample(1);
    manifest["name"] = json!(hostile);
    manifest["currency"] = json!(hostile);
    metrics["churn"]["candidates"][4]["name"] = json!(hostile);
    metrics["churn"]["champion"] = json!(hostile);
    metrics["btyd"][0]["params"] = json!({ hostile: 1.0 });
    metrics["churn"]["windows"][0]["role"] = json!(hostile);
    assert!(!check(&[manifest, metrics]).contains("<b "), "no element of the name");
}

#[test]
fn any_place_may_be_missing_or_of_another_type() {
    let odd = [json!(null), json!([]), json!("x"), json!(-1e308)];
    for document in 0..2 {
        let mut places = Vec::new();
        each_place(&sample(0)[document], "", &mut |path| places.push(path.to_owned()));
        // The rows of a list are alike: the first stands for all.
        let later =
            |path: &String| path.split('/').any(|k| k.parse::<usize>().is_ok_and(|n| n > 0));
        places.retain(|path| !later(path));
        assert!(places.len() > 10, "{places:?}");
        for path in &places {
            for value in &odd {
                let mut documents = sample(0);
                *documents[document].pointer_mut(path).unwrap() = value.clone();
                check(&documents);
            }
        }
    }
}

#[test]
fn empty_and_absurd_documents_give_a_page() {
    let kinds = [json!(null), json!({}), json!([]), json!(3), json!("text"), json!([[[]]])];
    for manifest in &kinds {
        for metrics in &kinds {
            let page = check(&[manifest.clone(), metrics.clone()]);
            assert!(page.contains("Nothing was judged"));
        }
    }
    let [manifest, mut metrics] = sample(0);
    let window = metrics["churn"]["windows"][0].clone();
    metrics["churn"]["windows"] = Value::Array(vec![window; 5000]);
    assert!(check(&[manifest, metrics]).len() < 200_000, "long lists are cut");
    let [mut manifest, mut metrics] = sample(0);
    manifest["data_first"] = json!("0001-01-01");
    manifest["data_until"] = json!("9999-12-31");
    metrics["data"]["first"] = json!("-009999-01-01");
    metrics["clv"]["horizon_days"] = json!(1e12);
    check(&[manifest, metrics]);
}

/// What a log too short for any window leaves.
fn unjudged() -> [Value; 2] {
    let [manifest, mut metrics] = sample(0);
    metrics["grade"] = json!("D");
    metrics["grade_reason"] =
        json!("too little data to learn from: days of history: 40 found, 182 needed");
    metrics["churn"] = json!({
        "champion": "btyd", "signal": false, "horizon_days": 91, "candidates": [], "windows": [],
        "note": "no complete window to judge candidates on",
    });
    metrics["clv"]["candidates"] = json!([]);
    metrics["clv"]["deciles"] = json!([]);
    metrics["clv"].as_object_mut().unwrap().remove("interval_coverage");
    metrics["data"]["learned"] = json!(false);
    metrics["data"]["usability"][3]["ok"] = json!(false);
    [manifest, metrics]
}

#[test]
fn without_a_judged_window_the_page_says_so() {
    let page = visible(&check(&unjudged()));
    for text in [
        "Grade D",
        "no complete window to judge candidates on",
        "No window was judged",
        "✗ short",
        "no models were learned",
        "no complete window could judge it",
        "(this model)",
    ] {
        assert!(page.contains(text), "{text}");
    }
}

#[test]
fn without_amounts_there_is_no_value_model() {
    let [manifest, mut metrics] = unjudged();
    metrics["clv"]["champion"] = json!(null);
    metrics["clv"]["total_predicted"] = json!(null);
    metrics["btyd"].as_array_mut().unwrap().pop();
    let page = visible(&check(&[manifest, metrics]));
    assert!(page.contains("No value model: the log holds no usable amounts"));
    assert!(page.contains("nothing is said about future spend"));
    assert!(!page.contains("Predicted for today"));
}

#[test]
fn what_speaks_against_the_model_is_said() {
    let [manifest, mut metrics] = sample(1);
    metrics["churn"]["signal"] = json!(false);
    metrics["churn"]["candidates"][5]["log_loss"] = json!(0.3);
    metrics["data"]["base_rhythm"]["history_short"] = json!(true);
    metrics["clv"]["candidates"][3]["total_ratio"] = json!(1.4);
    let page = visible(&check(&[manifest, metrics]));
    for text in
        ["No usable signal", "the model adds nothing", "history is short", "was 140.0\u{a0}%"]
    {
        assert!(page.contains(text), "{text}");
    }
    let [manifest, metrics] = sample(1);
    let page = visible(&check(&[manifest, metrics]));
    assert!(!page.contains("No usable signal") && !page.contains("adds nothing"));
}

/// The ids of all drawings of a page.
fn drawings(page: &str) -> Vec<&str> {
    let titles = page.split("<title id=\"").skip(1);
    titles.filter_map(|rest| rest.split_once("-title").map(|(id, _)| id)).collect()
}

#[test]
fn a_log_is_drawn_in_full() {
    let page = check(&sample(LOG));
    let found = drawings(&page);
    for id in [
        "time",
        "roc",
        "pr",
        "rel",
        "gain",
        "scores",
        "effect-churn-0",
        "dec",
        "capture",
        "coverage",
        "effect-value-0",
        "cumulative",
        "incremental",
        "repeats",
        "by-frequency",
        "alive",
        "ahead",
        "history",
        "today-churn",
        "today-value",
    ] {
        assert!(found.contains(&id), "{id} of {found:?}");
    }
    assert!(!page.contains("class=\"empty\""), "all sections are there");
    let text = visible(&page);
    for words in ["The most confident mistakes", "Tenths of the risk", "judged from here"] {
        assert!(text.contains(words), "{words}");
    }
}

#[test]
fn a_table_is_drawn_as_far_as_it_goes() {
    let page = check(&sample(TABLE));
    let found = drawings(&page);
    for id in ["roc", "pr", "rel", "gain", "scores", "effect-churn-0"] {
        assert!(found.contains(&id), "{id} of {found:?}");
    }
    for id in ["cumulative", "alive", "history", "today-churn", "capture"] {
        assert!(!found.contains(&id), "{id}: there is no log and no value");
    }
    assert!(visible(&page).contains("when everybody gets that value of the column"));
}

#[test]
fn a_bundle_without_plots_has_a_page_all_the_same() {
    let [manifest, mut metrics] = sample(LOG);
    for key in ["plots", "importance"] {
        metrics.as_object_mut().unwrap().remove(key);
    }
    assert_eq!(drawings(&check(&[manifest, metrics])), ["time", "rel", "dec"]);
}

#[test]
fn any_number_behind_a_plot_may_be_odd() {
    let mut places = Vec::new();
    each_place(&sample(LOG)[1], "", &mut |path| places.push(path.to_owned()));
    let later = |path: &String| path.split('/').any(|k| k.parse::<usize>().is_ok_and(|n| n > 0));
    let drawn = |path: &String| ["/plots", "/importance"].iter().any(|at| path.starts_with(at));
    places.retain(|path| drawn(path) && !later(path));
    assert!(places.len() > 60, "{places:?}");
    for (at, path) in places.iter().enumerate() {
        let mut documents = sample(LOG);
        let value = if at % 2 == 0 { json!(null) } else { json!(1e308) };
        *documents[1].pointer_mut(path).unwrap() = value;
        check(&documents);
    }
}

#[test]
fn groups_and_origins_are_shown_where_they_were_judged() {
    let [manifest, mut metrics] = sample(LOG);
    assert!(!visible(&check(&[manifest.clone(), metrics.clone()])).contains("Groups of customers"));
    metrics["churn"]["subgroups"] = json!([
        { "group": "new", "customers": 900, "churn_share": 0.9, "auc": 0.71, "log_loss": 0.3,
          "mean_prob": 0.88 },
        { "group": "repeat", "customers": 1457, "churn_share": 0.78, "auc": null },
    ]);
    metrics["backtest"] = json!({ "origins": [
        { "cutoff": "1997-07-02", "window_end": "1997-10-01",
          "churn": [{ "name": "blend", "auc": 0.81, "log_loss": 0.35, "ece": 0.01 }],
          "value": [{ "name": "blend", "gini": 0.7, "rmse": 30.0, "total_ratio": 1.1 }] },
        { "cutoff": "1997-10-01", "window_end": "1997-12-31", "churn": [], "value": "?" },
    ] });
    metrics["clv"]["total_interval"] = json!({ "p05": 70_000.0, "p95": 90_000.0 });
    let documents = [manifest, metrics];
    let text = visible(&check(&documents));
    for words in ["+2.0", "0.710", "1997-07-02", "0.3500", "1.100", "70,000\u{a0}USD to"] {
        assert!(text.contains(words), "{words}");
    }
    let card = model_card(&documents[0], &documents[1]).unwrap();
    assert!(card.contains("| repeat | 1,457 |") && card.contains("2 origins were judged"));
}

#[test]
fn the_card_says_what_the_model_reads_of_people() {
    let [manifest, metrics] = sample(TABLE);
    let card = model_card(&manifest, &metrics).unwrap();
    for text in [
        "attribute: female, senior_citizen",
        "--positive Yes",
        "--table FILE",
        "suggest a protected attribute",
    ] {
        assert!(card.contains(text), "{text}");
    }
    let [manifest, mut metrics] = sample(LOG);
    let card = model_card(&manifest, &metrics).unwrap();
    assert!(card.contains("No attribute of a person"));
    assert_eq!(card, model_card(&manifest, &metrics).unwrap());
    metrics["btyd_covariates"] = json!({ "columns": [{ "name": "acquisition_channel = web" }] });
    let card = model_card(&manifest, &metrics).unwrap();
    assert!(card.contains("covariates: acquisition_channel = web"));
    metrics["churn"]["candidates"][4]["auc_interval"] = json!([0.77, 0.82]);
    let card = model_card(&manifest, &metrics).unwrap();
    assert!(card.contains("auc 0.7700 to 0.8200 (interval)"), "{card}");
}
