use super::*;
use std::collections::BTreeMap;

fn layers(flags: &[(&str, &str)], environment: &[(&str, &str)], file: &str) -> Layers {
    let texts = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect()
    };
    Layers { flags: texts(flags), environment: texts(environment), file: file.parse().unwrap() }
}

const NEEDED: &[(&str, &str)] = &[("models", "m"), ("name", "shop"), ("store", "s")];

fn issues(layers: Layers) -> Vec<String> {
    match ServeConfig::check(layers) {
        Err(ConfigError::Issues(issues)) => issues.iter().map(ToString::to_string).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_flag_wins_over_the_environment_over_the_file_over_the_default() {
    let file = "calls_max = 3\nevents_max = 4\nbatch_rows_max = 5\nmodels = 'm'\nstore = 's'";
    let flags = &[("calls_max", "1"), ("name", "shop@stable")];
    let config =
        ServeConfig::check(layers(flags, &[("calls_max", "2"), ("events_max", "2")], file))
            .unwrap();
    let limits = config.limits;
    assert_eq!((limits.calls_max, limits.events_max, limits.batch_rows_max), (1, 2, 5));
    assert_eq!(limits.drain.as_secs(), 20);
    assert_eq!((&*config.model.name, &*config.model.version), ("shop", "stable"));
    let origin = |key: &str| config.settings.iter().find(|s| s.key == key).unwrap().origin;
    assert_eq!(
        ["calls_max", "events_max", "batch_rows_max", "drain_seconds"].map(origin),
        [Origin::Flag, Origin::Environment, Origin::File, Origin::Default]
    );
}

#[test]
fn all_problems_are_told_at_once() {
    let found = issues(layers(
        &[("listen", "nowhere"), ("name", "../shop")],
        &[("portt", "1"), ("calls_max", "0")],
        "durability = 'paper'\ncolour = 'red'",
    ));
    for part in ["nowhere", "../shop", "portt", "calls_max", "paper", "colour", "models"] {
        assert!(found.iter().any(|text| text.contains(part)), "{part} in {found:?}");
    }
    assert_eq!(found.len(), 7, "{found:?}");
}

#[test]
fn an_address_that_others_reach_needs_tls_and_known_callers_or_a_word() {
    let open = [NEEDED, &[("listen", "0.0.0.0:1")]].concat();
    let with = |more: &[(&str, &str)]| issues_or_none(&[open.as_slice(), more].concat());
    let tls = [("tls_cert", "c"), ("tls_key", "k")];
    for (more, part) in [
        (vec![], Some("neither encrypts nor knows")),
        (tls.to_vec(), Some("knows no caller")),
        (vec![("keys", "f")], Some("does not encrypt")),
        ([&tls[..], &[("keys", "f")]].concat(), None),
        ([&tls[..], &[("tls_client_ca", "a")]].concat(), None),
        (vec![("insecure", "true")], None),
    ] {
        let found = with(&more);
        match part {
            Some(part) => assert!(found[0].contains(part) && found.len() == 1, "{found:?}"),
            None => assert_eq!(found, Vec::<String>::new(), "{more:?}"),
        }
    }
    for listen in ["localhost:0", "127.0.0.1:0", "[::1]:7"] {
        let here = [NEEDED, &[("listen", listen)]].concat();
        assert!(ServeConfig::check(layers(&here, &[], "")).is_ok(), "{listen}");
    }
}

#[test]
fn half_of_tls_is_refused() {
    for (given, part) in [
        (&[("tls_cert", "c")][..], "tls_key is not"),
        (&[("tls_key", "k")], "tls_cert is not"),
        (&[("tls_client_ca", "a")], "needs tls_cert"),
    ] {
        let found = issues_or_none(&[NEEDED, given].concat());
        assert!(found.len() == 1 && found[0].contains(part), "{found:?}");
    }
}

fn issues_or_none(flags: &[(&str, &str)]) -> Vec<String> {
    match ServeConfig::check(layers(flags, &[], "")) {
        Ok(_) => Vec::new(),
        Err(ConfigError::Issues(issues)) => issues.iter().map(ToString::to_string).collect(),
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn what_is_printed_reads_back_as_the_same_configuration() {
    let flags = [NEEDED, &[("listen", "127.0.0.1:9"), ("events_max", "7")]].concat();
    let config = ServeConfig::check(layers(&flags, &[], "")).unwrap();
    let printed = config.to_toml();
    assert!(printed.contains("events_max = 7  # flag"), "{printed}");
    let again = ServeConfig::check(layers(&[], &[], &printed)).unwrap();
    assert_eq!(ServeConfig { settings: config.settings.clone(), ..again }, config);
}
