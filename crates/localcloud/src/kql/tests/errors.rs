use super::catalog;
use crate::kql::{ErrorKind, run};

fn refused(query: &str) -> crate::kql::Error {
    run(query, &catalog()).map(|_| ()).expect_err(query)
}

#[test]
fn names_that_mean_nothing_are_reported_in_the_words_of_the_service() {
    for (query, line, column, message) in [
        (
            "Foo | where x == 1",
            1,
            1,
            "'where' operator: Failed to resolve table or column expression named 'Foo'. Fix semantic errors in your query.",
        ),
        ("Foo", 1, 1, "Failed to resolve table or column expression named 'Foo'. Fix semantic errors in your query."),
        (
            "Events\n| summarize sum(X)",
            2,
            17,
            "'summarize' operator: Failed to resolve scalar expression named 'X'. Fix semantic errors in your query.",
        ),
        (
            "Events | project id",
            1,
            18,
            "'project' operator: Failed to resolve scalar expression named 'id'. Fix semantic errors in your query.",
        ),
        (
            "Events | extend y = nope(Id)",
            1,
            21,
            "'extend' operator: Unknown function: 'nope'. Fix semantic errors in your query.",
        ),
        (
            "Events | where Id == 'x'",
            1,
            19,
            "'where' operator: Cannot compare values of types long and string. Try adding explicit casts. Fix semantic errors in your query.",
        ),
        (
            "Events | where sum(Id) > 1",
            1,
            16,
            "'where' operator: The aggregate function 'sum' is not allowed in this context. Fix semantic errors in your query.",
        ),
        (
            "union Events, Nope",
            1,
            15,
            "'union' operator: Failed to resolve table or column expression named 'Nope'. Fix semantic errors in your query.",
        ),
        (
            "Events | join Nope on Id",
            1,
            15,
            "'join' operator: Failed to resolve table or column expression named 'Nope'. Fix semantic errors in your query.",
        ),
        (
            "Broken",
            1,
            16,
            "'where' operator: Failed to resolve scalar expression named 'Missing'. Fix semantic errors in your query.",
        ),
    ] {
        let error = refused(query);
        assert_eq!(error.message, message, "{query}");
        assert_eq!(error.kind, ErrorKind::Semantic, "{query}");
        assert_eq!((error.position.line, error.position.column), (line, column), "{query}");
    }
}

#[test]
fn what_is_not_kql_is_a_recognition_error_with_its_place() {
    for (query, line, column) in [
        ("", 1, 1),
        ("Events |", 1, 9),
        ("Events | where", 1, 15),
        ("Events | wherever Id == 1", 1, 10),
        ("Events | parse Name with * 'x'", 1, 10),
        ("Events | take 1 Id", 1, 17),
        ("Events\n| where (Id == 1", 2, 17),
        ("Events | project-nothing Id", 1, 10),
        ("Events | where Id = 1", 1, 19),
        ("Events | where Id in 1", 1, 22),
        ("Events | where Id == 1 }", 1, 24),
        ("let x = ;", 1, 9),
        ("Events where Id == 1", 1, 8),
    ] {
        let error = refused(query);
        assert!(error.message.starts_with("A recognition error occurred."), "{query}: {error}");
        assert!(error.message.contains(&format!("[line:position={line}:{column}]")), "{query}: {error}");
        assert_eq!(error.kind, ErrorKind::Syntax, "{query}");
        assert_eq!((error.position.line, error.position.column), (line, column), "{query}");
    }
}

#[test]
fn arguments_that_do_not_fit_are_refused() {
    for query in [
        "print strlen()",
        "print strlen('a', 'b')",
        "print 1d + 1",
        "print 'a' + 'b'",
        "print datetime(2026-01-01) + datetime(2026-01-01)",
        "print bin('a', 1)",
        "print iff(1, 2)",
        "print iff('a', 1, 2)",
        "print iff(true, 'a', 1)",
        "print startofday('2026-01-01')",
        "print ago(5)",
        "print 'a' matches regex '('",
        "print 5 has 'x'",
        "Events | where Id",
        "Events | project Id, Id",
        "Events | project-away Nope",
        "Events | take -1",
        "Events | take Id",
        "Events | extend n = row_number()",
        "Events | summarize Id",
        "Events | summarize x = arg_max(Id, Name) + 1",
        "Events | join kind=inner (Events) on Nope",
        "Events | where Id in (Name.x)",
        "Events | mv-expand Id",
        "Events; Events",
        "datatable(a:long)['x', 1]",
        "datatable(a:long, b:long)[1]",
        "declare query_parameters(n:long); print n",
        "let f = (x:long) { x + 1 }; print f('a')",
        "let f = (x:long) { Id + x }; Events | extend y = f(1)",
    ] {
        let error = refused(query);
        assert!(error.position.line > 0, "{query}: {error}");
        assert!(error.message.ends_with("in your query."), "{query}: {error}");
    }
}

#[test]
fn nothing_can_be_nested_so_deeply_that_the_stack_overflows() {
    let many = |text: &str| text.repeat(5_000);
    let mut queries = vec![
        format!("print {}1{}", many("("), many(")")),
        format!("print {}", many("-(1)")),
        format!("print {}1{}", many("abs("), many(")")),
        format!("print 1{}", many(" + 1")),
        format!("print dynamic({}{})", many("["), many("]")),
        format!("print x{}", many(".a")),
        format!("print x{}", many("[0]")),
        format!("Events{}", many(" | where Id > 0")),
        format!("{}Events{}", many("union ("), many(")")),
        format!("print {}true{}", many("not("), many(")")),
        "Endless".to_owned(),
        "Circle()".to_owned(),
        "print Circle()".to_owned(),
    ];
    let chain: String = (1..2_000).map(|n| format!("let x{n} = x{};", n - 1)).collect();
    queries.push(format!("let x0 = Events; {chain} x1999 | take 1"));
    let functions: String = (1..2_000).map(|n| format!("let f{n} = (a:long) {{ f{}(a) + 1 }};", n - 1)).collect();
    queries.push(format!("let f0 = (a:long) {{ a }}; {functions} Events | extend y = f1999(Id)"));
    let extended: String = (1..490).map(|n| format!("| extend y{n} = y{} + 1", n - 1)).collect();
    queries.push(format!("Events | extend y0 = Id {extended}"));
    for query in queries {
        refused(&query);
    }
}

#[test]
fn the_deepest_query_that_is_taken_runs_on_a_small_stack() {
    let deep = format!("Events | where {}Id > 0{} | count", "not(".repeat(50), ")".repeat(50));
    let summed = format!("Events | extend s = 1{} | summarize sum(s)", " + Id".repeat(100));
    let sorted = format!("Events {} | count", "| distinct * ".repeat(140));
    let extended: String = (1..190).map(|n| format!("| extend y{n} = y{} + 1", n - 1)).collect();
    let extended = format!("Events | extend y0 = Id {extended} | project y189");
    for query in [deep, summed, sorted, extended] {
        let run = move || assert!(!super::rows(&query).is_empty());
        std::thread::Builder::new().stack_size(1 << 20).spawn(run).unwrap().join().unwrap();
    }
}
