use super::testing::report;
use super::*;

#[test]
fn json_reads_back_to_the_same_report() {
    let report = report();
    let text = report.to_json();
    let again = ProfileReport::from_json(&text, "x.json".as_ref()).unwrap();
    assert_eq!(again, report);
}

#[test]
fn every_metric_is_an_object_with_its_status_unit_and_source() {
    let value: serde_json::Value = serde_json::from_str(&report().to_json()).unwrap();
    assert_eq!(value["schema"], "ncps.profile/1");
    let metrics = value["metrics"].as_object().unwrap();
    for (name, metric) in metrics {
        match metric["status"].as_str().unwrap() {
            "unavailable" => {
                assert!(
                    metric.get("value").is_none() && metric["reason"].is_string(),
                    "{name}"
                );
            }
            _ => {
                assert!(metric["value"].is_number(), "{name}");
                assert!(
                    metric["unit"].is_string() && metric["source"].is_string(),
                    "{name}"
                );
            }
        }
    }
    assert_eq!(metrics["time.train_step.median"]["window_s"], 3.0);
}

#[test]
fn the_documentation_names_every_key() {
    let text = include_str!("../../README.md");
    let value: serde_json::Value = serde_json::from_str(&report().to_json()).unwrap();
    let keys = |value: &serde_json::Value| -> Vec<String> {
        value.as_object().unwrap().keys().cloned().collect()
    };
    let inner = ["program", "machine", "subject", "verdict", "roofline"];
    let all = inner
        .iter()
        .flat_map(|part| keys(&value[part]))
        .chain(keys(&value));
    let rows = ["phases", "advice"]
        .iter()
        .flat_map(|part| keys(&value[part][0]));
    for key in all
        .chain(rows)
        .chain(keys(&value["metrics"]["time.train_step.median"]))
    {
        assert!(
            text.contains(&format!("`{key}`")),
            "`{key}` is not documented"
        );
    }
}

#[test]
fn what_is_no_report_is_refused_with_a_reason() {
    for (text, words) in [
        ("", "not JSON"),
        ("{}", "no `schema`"),
        (
            "{\"schema\": \"ncps.profile/0\"}",
            "expected `ncps.profile/1`",
        ),
        ("{\"schema\": \"ncps.profile/1\"}", "missing field"),
        ("[1]", "no `schema`"),
    ] {
        let message = ProfileReport::from_json(text, "a.json".as_ref())
            .unwrap_err()
            .to_string();
        assert!(
            message.contains(words) && message.contains("a.json"),
            "{message}"
        );
    }
}

#[test]
fn text_and_markdown_show_numbers_reasons_and_the_verdict() {
    let report = report();
    for text in [report.to_text(), report.to_markdown()] {
        for words in [
            "1.00 ms",
            "launch-bound",
            "macOS has no",
            "batch 32 ->",
            "1.50 x",
            "50.0 %",
        ] {
            assert!(text.contains(words), "no `{words}` in:\n{text}");
        }
        assert!(!text.contains("Neural Engine utilisation  0"), "{text}");
    }
    // A table row has as many cells as its head, whatever the texts hold.
    let markdown = ProfileReport {
        title: "a|b".into(),
        ..report
    }
    .to_markdown();
    assert!(markdown.starts_with("# Profile of a\\|b\n"));
}

#[test]
fn html_is_escaped_whole_and_has_its_plots() {
    let report = report();
    let html = report.to_html(&[]);
    assert_eq!(html.matches("<figure>").count(), report.figures().len());
    let names: Vec<String> = report.figures().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["roofline", "train_step", "timeline"]);
    assert!(!html.contains("<script") && html.contains("m3 &lt;test&gt;"));
    assert_eq!(html.matches("src=").count(), 0);
    for tag in [
        "table", "tr", "td", "th", "section", "figure", "div", "svg", "p",
    ] {
        let opened =
            html.matches(&format!("<{tag}>")).count() + html.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, html.matches(&format!("</{tag}>")).count(), "{tag}");
    }
    let missing = html.split("Not measured").nth(1).unwrap();
    assert!(missing.contains("Neural Engine utilisation"));
}

#[test]
fn a_report_with_nothing_in_it_is_still_a_report() {
    let empty = ProfileReport {
        metrics: BTreeMap::new(),
        samples: BTreeMap::new(),
        phases: vec![],
        roofline: None,
        telemetry: None,
        verdict: None,
        advice: vec![],
        notes: vec![],
        ..report()
    };
    assert!(empty.figures().is_empty());
    assert!(empty.to_html(&[]).ends_with("</html>\n"));
    assert!(empty.to_text().lines().count() < 4 && empty.to_markdown().starts_with('#'));
    assert!(empty.metric("time.forward.median").value().is_none());
}
