//! Which column holds what: named, guessed, or refused with the flag to use.

use super::*;

fn message(header: &str, columns: RawColumns) -> String {
    let spec = spec_of(columns);
    let text = format!("{header}\n");
    let taken = take_text(&spec, &Rules::default(), FileFormat::Csv, text.as_bytes());
    taken.unwrap_err().to_string()
}

fn used(header: &str) -> String {
    let row = vec!["1"; header.split(',').count()].join(",");
    let taken = take_csv(&format!("{header}\n{row}\n")).unwrap();
    taken.report.sources[0].columns_used.join("; ").replace(" (guessed)", "")
}

#[test]
fn common_names_are_recognised() {
    for (header, wanted) in [
        (
            "customer_id,date,n_cds,amount",
            "customer <- customer_id; time <- date; items <- n_cds; amount <- amount",
        ),
        (
            "household_key,day,sales_value,quantity",
            "customer <- household_key; time <- day; items <- quantity; amount <- sales_value",
        ),
        (
            "InvoiceNo,Customer ID,InvoiceDate,Total Price",
            "customer <- Customer ID; time <- InvoiceDate; amount <- Total Price",
        ),
        ("user_id,created_at,price", "customer <- user_id; time <- created_at; amount <- price"),
        (
            "event_id,customer,type,time,amount,campaign,severity,consent_email",
            "customer <- customer; type <- type; time <- time; event id <- event_id; \
             amount <- amount; campaign <- campaign; severity <- severity; \
             consent_email <- consent_email",
        ),
    ] {
        assert_eq!(used(header), wanted);
    }
}

#[test]
fn what_cannot_be_told_names_the_columns_and_the_flag() {
    for (header, wanted) in [
        (
            "who,date,amount",
            "no column looks like the customer: name it with --customer-column; columns: who, date, amount",
        ),
        (
            "customer,amount",
            "no column looks like the time: name it with --time-column; columns: customer, amount",
        ),
        (
            "customer,date,x",
            "no column looks like the amount: name it with --amount-column; columns: customer, date, x",
        ),
        (
            "customer,order_date,invoice_date,amount",
            "several columns could be the time (order_date, invoice_date): name one with --time-column",
        ),
        (
            "user_id,account_id,date,amount",
            "several columns could be the customer (user_id, account_id): name one with --customer-column",
        ),
        (
            "customer,date,quantity,price",
            "column \"price\" beside \"quantity\" may be the price of one item: add a column of the amount paid, or say --amount-column price",
        ),
    ] {
        let message = message(header, RawColumns::default());
        assert_eq!(message, format!("memory: {wanted}"));
    }
}

#[test]
fn a_named_column_must_be_there_once() {
    let named =
        |amount: &str| RawColumns { amount: Some(amount.to_owned()), ..RawColumns::default() };
    let text = message("customer,date,totl", named("total"));
    assert!(
        text.contains(
            "no column \"total\" for the amount (--amount-column) (did you mean \"totl\"?)"
        ),
        "{text}"
    );
    let text = message("customer,date,x,x", named("x"));
    assert!(
        text.contains("the column \"x\" for the amount stands in the header more than once"),
        "{text}"
    );
}

#[test]
fn a_mapping_refuses_what_no_event_has() {
    let with = |key: &str| {
        let attributes = [(key.to_owned(), "x".to_owned())].into();
        RawColumns { attributes, ..RawColumns::default() }
    };
    let message = ColumnMapping::try_from(with("campagn")).unwrap_err().to_string();
    assert_eq!(message, "\"campagn\" is not an attribute (did you mean \"campaign\"?)");
    let default_type = Some("purchases".to_owned());
    let raw = RawColumns { default_type, ..RawColumns::default() };
    assert!(ColumnMapping::try_from(raw).unwrap_err().to_string().contains("purchase"));
    assert!(toml::from_str::<RawColumns>("cutomer = \"x\"").is_err());
    let raw = RawColumns {
        amount: Some("x".to_owned()),
        constants: [("amount".to_owned(), "1".to_owned())].into(),
        ..RawColumns::default()
    };
    assert!(message_of_given_twice(raw).contains("given by a column and as a constant"));
}

fn message_of_given_twice(raw: RawColumns) -> String {
    message("customer,date,x", raw)
}

#[test]
fn a_type_that_is_given_keeps_a_type_column_out() {
    let text = b"customer,date,amount,type\na,2026-01-01,1,card\n";
    let taken = take_text(&ReadSpec::default(), &Rules::default(), FileFormat::Csv, text).unwrap();
    assert_eq!(taken.dropped, [(2, "unknown_type")]);
    let spec =
        spec_of(RawColumns { default_type: Some("purchase".to_owned()), ..RawColumns::default() });
    let taken = take_text(&spec, &Rules::default(), FileFormat::Csv, text).unwrap();
    assert_eq!(taken.report.kept, 1);
    assert_eq!(taken.report.sources[0].columns_ignored, ["type"]);
}

#[test]
fn unused_columns_are_named_and_do_no_harm() {
    let taken = take_csv("customer,date,amount,store,sku\na,2026-01-01,1,x,y\n").unwrap();
    assert_eq!(taken.report.sources[0].columns_ignored, ["store", "sku"]);
    let late =
        r#"{"customer":"a","type":"activity","time":"2026-01-01","name":"visit","page":"/x"}"#;
    let taken = take_jsonl(late).unwrap();
    assert_eq!((taken.report.kept, taken.report.dropped), (1, 0));
    assert_eq!(taken.report.sources[0].columns_ignored, ["page"]);
}

#[test]
fn a_key_that_comes_late_is_taken_by_its_own_name() {
    let mut text = String::new();
    for _ in 0..1_500 {
        text.push_str(
            "{\"customer\":\"a\",\"type\":\"purchase\",\"time\":\"2026-01-01\",\"amount\":1}\n",
        );
    }
    text.push_str("{\"customer\":\"a\",\"type\":\"purchase\",\"time\":\"2026-01-01\",\"amount\":1,\"discount\":2,\"shop\":1}\n");
    let taken = take_jsonl(&text).unwrap();
    let EventKind::Purchase(last) = &taken.events.last().unwrap().kind else { panic!() };
    assert!((last.discount.units() - 2.0).abs() < 1e-9);
    assert_eq!(taken.report.sources[0].columns_ignored, ["shop"]);
}

#[test]
fn a_campaign_table_becomes_contacts() {
    let text = String::from_utf8(corpus("campaigns.toml")).unwrap();
    let spec = spec_of(toml::from_str(&text).unwrap());
    let mut events = Vec::new();
    let path = in_package("data/complete_journey_campaigns.csv.gz");
    let report =
        read_events(&path, &spec, &Rules::default(), &mut |event| events.push(event)).unwrap();
    assert_eq!((report.rows, report.kept, report.customers), (6_589, 6_589, 1_559));
    assert_eq!(report.types["contact"], 6_589);
    let EventKind::Contact(contact) = &events[0].kind else { panic!("{:?}", events[0]) };
    assert_eq!(contact.campaign.as_str(), "24");
    assert_eq!(contact.stage, ContactStage::Delivered);
    assert_eq!(events[0].day.to_string(), "2016-11-14");
}

#[test]
fn a_sales_channel_is_not_taken_for_the_channel_of_a_message() {
    let spec = spec_of(RawColumns {
        default_type: Some("contact".to_owned()),
        constants: [("stage".to_owned(), "opened".to_owned())].into(),
        ..RawColumns::default()
    });
    let text = b"customer,date,campaign,sales_channel,channel\na,2026-01-01,c,store,email\n";
    let taken = take_text(&spec, &Rules::default(), FileFormat::Csv, text).unwrap();
    assert_eq!(taken.dropped, []);
    assert_eq!(taken.report.sources[0].columns_ignored, ["sales_channel"]);
}
