use serde_json::{Value, json};

use super::render;

const SAMPLES: [[&str; 2]; 2] = [
    [
        include_str!("../../../tests/golden/report/cdnow_manifest.json"),
        include_str!("../../../tests/golden/report/cdnow.json"),
    ],
    [
        include_str!("../../../tests/golden/report/journey_manifest.json"),
        include_str!("../../../tests/golden/report/journey.json"),
    ],
];

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
    page
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
    for idx in 0..SAMPLES.len() {
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
