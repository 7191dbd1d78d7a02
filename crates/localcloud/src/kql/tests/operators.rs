use super::{answer, rows};

fn check(query: &str, columns: &[&str], expected: &[&str]) {
    let (names, found) = answer(query);
    assert_eq!(names, columns, "{query}");
    assert_eq!(found, expected, "{query}");
}

#[test]
fn summarize_names_its_columns_as_the_service_does() {
    check(
        "datatable(k:string, v:long, d:dynamic)['a', 1, dynamic({}), 'b', 2, dynamic({}), 'a', 5, dynamic({})]
         | summarize count(), sum(v), max(v), avg(v), dcount(k), make_set(k), countif(v > 1), sum(v + 1), any(k), take_any(v), max(v) - min(v), strlen(max(k)) by k",
        &["k", "count_", "sum_v", "max_v", "avg_v", "dcount_k", "set_k", "countif_", "sum_", "any_k", "v", "Column1", "strlen_max_k"],
        &[r#""a",2,6,5,3.0,1,["a"],1,8,"a",1,4,1"#, r#""b",1,2,2,2.0,1,["b"],1,3,"b",2,0,1"#],
    );
    check("Events | summarize count(), count() by bin(Id, 2)", &["Id", "count_", "count_1"], &["0,1,1", "2,2,2"]);
}

#[test]
fn summarize_of_nothing_is_one_row_without_groups_and_none_with() {
    let all = "count(), sum(Id), max(Id), make_list(Id), dcount(Id), avg(Id), take_any(Id)";
    assert_eq!(rows(&format!("Events | where false | summarize {all}")), ["0,0,null,[],0,null,null"]);
    assert!(rows(&format!("Events | where false | summarize {all} by Name")).is_empty());
    assert_eq!(rows("Events | where false | summarize max(Name), arg_max(Id, Name, At)"), [r#""",null,"",null"#]);
}

#[test]
fn arg_max_gives_the_row_of_the_greatest_value() {
    check(
        r#"datatable(Fruit: string, Color: string, Version: int) [
            "Apple", "Red", 1, "Apple", "Green", int(null), "Banana", "Yellow", int(null), "Banana", "Green", int(null),
            "Pear", "Brown", 1, "Pear", "Green", 2, ] | summarize arg_max(Version, *) by Fruit"#,
        &["Fruit", "Version", "Color"],
        &[r#""Apple",1,"Red""#, r#""Banana",null,"Yellow""#, r#""Pear",2,"Green""#],
    );
    check(
        "Events | summarize arg_max(ingestion_time(), *)",
        &["$IngestionTime", "Id", "Name", "At"],
        &[r#""2026-04-14T06:00:00.0000000Z",1,"alpha","2026-04-14T06:00:00.0000000Z""#],
    );
    check("Events | summarize arg_min(Id * 2, Name), N = count()", &["min_", "Name", "N"], &[r#"2,"alpha",3"#]);
}

#[test]
fn columns_are_chosen_renamed_and_added() {
    check("Events | project Name, Twice = Id * 2, Id + 1 | take 1", &["Name", "Twice", "Column1"], &[r#""alpha",2,2"#]);
    check("Events | extend Id = Id + 10, Id * 2 | project-away Name, A* | take 1", &["Id", "Column1"], &["11,2"]);
    check("Events | project-rename Number = Id | project-keep N* | take 1", &["Number", "Name"], &[r#"1,"alpha""#]);
    check("Events | project-reorder Name | take 1 | project-away At", &["Name", "Id"], &[r#""alpha",1"#]);
    check(
        "print x = dynamic({'a': {'b': 1}}) | project x.a.b, x['a'], tostring(x.a)",
        &["x_a_b", "x_a", "x_a1"],
        &[r#"1,{"b":1},"{\"b\":1}""#],
    );
    check("print 1, bin(4.5, 1), a = 'x'", &["print_0", "print_1", "a"], &[r#"1,4.0,"x""#]);
    check("['Events'] | where ['Id'] == 2 | project ['my id'] = Id", &["my id"], &["2"]);
}

#[test]
fn rows_are_sorted_with_nulls_where_they_belong() {
    let data = "datatable(v:real)[5, real(null), real(nan), -5, real(+inf)]";
    for (order, expected) in [
        ("asc", "null,\"NaN\",-5.0,5.0,\"Infinity\""),
        ("desc", "\"Infinity\",5.0,-5.0,\"NaN\",null"),
        ("desc nulls first", "null,\"NaN\",\"Infinity\",5.0,-5.0"),
        ("asc nulls last", "-5.0,5.0,\"Infinity\",\"NaN\",null"),
    ] {
        assert_eq!(rows(&format!("{data} | sort by v {order}")).join(","), expected, "{order}");
    }
    assert_eq!(rows("Events | top 2 by Id | project Id"), ["3", "2"]);
    assert_eq!(rows("Events | order by Name asc, Id | project Name, Id"), [r#""",3"#, r#""Beta",2"#, r#""alpha",1"#]);
}

#[test]
fn rows_in_order_can_be_numbered() {
    check(
        "Events | sort by Id | extend n = row_number() | where n > 1",
        &["Id", "Name", "At", "n"],
        &[r#"2,"Beta","2026-04-14T05:00:00.0000000Z",2"#, r#"1,"alpha","2026-04-14T06:00:00.0000000Z",3"#],
    );
    assert_eq!(rows("Events | serialize n = row_number(7) | project n"), ["7", "8", "9"]);
    assert_eq!(
        rows("Events | sort by Id asc | extend n = row_number(0, Id == 3) | sort by n asc | project n, Id"),
        ["0,1", "0,3", "1,2"]
    );
}

#[test]
fn unions_bring_columns_of_all_legs_together() {
    check(
        "let View_1 = view () { print x=1 }; let View_2 = view () { print x=toint(2) }; union withsource=TableName View_1, View_2",
        &["TableName", "x_long", "x_int"],
        &[r#""View_1",1,null"#, r#""View_2",null,2"#],
    );
    check(
        "let View_1 = view () { print x=1 }; let View_2 = view () { print x=toint(2) }; let View_3 = view () { print x_long=3 }; union withsource=TableName View_1, View_2, View_3",
        &["TableName", "x_long1", "x_int", "x_long"],
        &[r#""View_1",1,null,null"#, r#""View_2",null,2,null"#, r#""View_3",null,null,3"#],
    );
    check(
        "union kind=inner (Events | project Id, Name), (print Id = 7, Other = 1) | where Id > 2",
        &["Id"],
        &["3", "7"],
    );
    check("union isfuzzy=true Events, Nope | count", &["Count"], &["3"]);
    check("union Events* | count", &["Count"], &["4"]);
    check(
        "Events | union (print Name = 's', Extra = 1) | project Id, Name, Extra | where isnotnull(Extra)",
        &["Id", "Name", "Extra"],
        &[r#"null,"s",1"#],
    );
    check(
        "union (Events | project T='A', Row=tostring(pack_all())), (EventsMore | project T='B', Row=tostring(pack_all(true))) | where T == 'B'",
        &["T", "Row"],
        &[r#""B","{\"Id\":9,\"Name\":\"more\"}""#],
    );
}

#[test]
fn joins_pair_rows_by_their_keys() {
    let data = "let X = datatable(Key:string, Value1:long)['a',1,'b',2,'b',3,'c',4];
                let Y = datatable(Key:string, Value2:long)['b',10,'c',20,'c',30,'d',40]; X | join";
    // The rows are those of dataexplorer-docs `query/join-inner.md` and its neighbours.
    for (kind, expected) in [
        ("", vec![r#""b",2,"b",10"#, r#""c",4,"c",20"#, r#""c",4,"c",30"#]),
        ("kind=inner", vec![r#""b",2,"b",10"#, r#""b",3,"b",10"#, r#""c",4,"c",20"#, r#""c",4,"c",30"#]),
        (
            "kind=leftouter",
            vec![r#""a",1,"",null"#, r#""b",2,"b",10"#, r#""b",3,"b",10"#, r#""c",4,"c",20"#, r#""c",4,"c",30"#],
        ),
        (
            "kind=rightouter",
            vec![r#""b",2,"b",10"#, r#""b",3,"b",10"#, r#""c",4,"c",20"#, r#""c",4,"c",30"#, r#""",null,"d",40"#],
        ),
        (
            "kind=fullouter",
            vec![
                r#""a",1,"",null"#,
                r#""b",2,"b",10"#,
                r#""b",3,"b",10"#,
                r#""c",4,"c",20"#,
                r#""c",4,"c",30"#,
                r#""",null,"d",40"#,
            ],
        ),
        ("kind=leftanti", vec![r#""a",1"#]),
        ("kind=leftsemi", vec![r#""b",2"#, r#""b",3"#, r#""c",4"#]),
        ("kind=rightanti", vec![r#""d",40"#]),
        ("kind=rightsemi", vec![r#""b",10"#, r#""c",20"#, r#""c",30"#]),
    ] {
        assert_eq!(rows(&format!("{data} {kind} Y on Key")), expected, "{kind}");
        assert_eq!(rows(&format!("{data} {kind} (Y) on $left.Key == $right.Key")), expected, "{kind}");
    }
    let (columns, _) = answer(&format!("{data} hint.strategy=broadcast kind=inner Y on Key"));
    assert_eq!(columns, ["Key", "Value1", "Key1", "Value2"]);
}

#[test]
fn arrays_and_bags_become_rows() {
    let data =
        r#"datatable (a: int, b: dynamic, c: dynamic)[1, dynamic({"prop1": "a", "prop2": "b"}), dynamic([5, 4, 3])]"#;
    assert_eq!(rows(&format!("{data} | mv-expand b, c")), [r#"1,{"prop1":"a"},5"#, r#"1,{"prop2":"b"},4"#, "1,null,3"]);
    assert_eq!(
        rows(&format!("{data} | mv-expand kind=array b | project key = b[0], val = b[1]")),
        [r#""prop1","a""#, r#""prop2","b""#]
    );
    assert_eq!(
        rows(&format!("{data} | mv-expand with_itemindex=i e = c to typeof(long) limit 2 | project i, e, e + 1")),
        ["0,5,6", "1,4,5"]
    );
    assert_eq!(rows("print a = 1, b = dynamic([]) | mv-expand b"), Vec::<String>::new());
    assert_eq!(rows("print a = 1, b = dynamic(null) | mv-expand b"), ["1,null"]);
    assert_eq!(
        rows("Events | extend l = pack_array(1, 2) | mv-expand l | summarize count(), max(ingestion_time())"),
        [r#"6,"2026-04-14T06:00:00.0000000Z""#]
    );
}

#[test]
fn the_schema_is_a_table() {
    check(
        "Events | extend d = dynamic(1) | getschema",
        &["ColumnName", "ColumnOrdinal", "DataType", "ColumnType"],
        &[
            r#""Id",0,"System.Int64","long""#,
            r#""Name",1,"System.String","string""#,
            r#""At",2,"System.DateTime","datetime""#,
            r#""d",3,"System.Object","dynamic""#,
        ],
    );
}

#[test]
fn let_names_scalars_tables_and_functions() {
    assert_eq!(rows("let n = 2; let T = Events | where Id >= n; T | count"), ["2"]);
    assert_eq!(rows("let f = (a:long, b:long = 10) { let c = a * b; c + 1 }; print f(2), f(2, 3)"), ["21,7"]);
    assert_eq!(rows("let f = (n:long) { Events | where Id == n }; f(2) | project Name"), [r#""Beta""#]);
    assert_eq!(
        rows("let f = (Name:string) { strcat(Name, '!') }; Events | project f(tostring(Id)) | take 1"),
        [r#""1!""#]
    );
    assert_eq!(
        rows("set notruncation; set truncationmaxrecords = 5; let m = materialize(Events | project Id); m | count"),
        ["3"]
    );
    assert_eq!(rows("Events | where Id in (Events | where Name == 'Beta' | project Id) | project Name"), [r#""Beta""#]);
    assert_eq!(
        rows("let top_id = toscalar(Events | summarize max(Id)); Events | where Id == top_id | project Id, Answer()"),
        ["3,42"]
    );
}

#[test]
fn stored_functions_are_tables_or_scalars() {
    assert_eq!(rows("Recent | count"), ["2"]);
    assert_eq!(rows("Recent() | project Id"), ["1", "2"]);
    assert_eq!(rows("print Answer()"), ["42"]);
    assert_eq!(rows("table('Events') | where Id == Answer() - 41 | project Name"), [r#""alpha""#]);
    assert_eq!(
        rows("union withsource=T Recent, EventsMore | project T, Id"),
        [r#""Recent",1"#, r#""Recent",2"#, r#""EventsMore",9"#]
    );
}

#[test]
fn as_names_what_came_before_it() {
    assert_eq!(
        rows("Events | where Id > 1 | as Big | union (Big | where Id == 3) | summarize count() by Id"),
        ["2,1", "3,2"]
    );
}

#[test]
fn series_are_made_by_range() {
    assert_eq!(rows("range x from 1 to 10 step 4"), ["1", "5", "9"]);
    assert_eq!(rows("range x from 3 to 1 step -1 | summarize make_list(x)"), ["[3,2,1]"]);
    assert_eq!(rows("range d from datetime(2026-01-01) to datetime(2026-01-03) step 1d | count"), ["3"]);
    assert_eq!(rows("range x from 1 to 1000000000000 step 1 | take 2"), ["1", "2"]);
}

#[test]
fn declared_parameters_are_filled_in() {
    let query = "declare query_parameters(n:long, s:string = 'x', t:timespan = 1h); print n, s, t";
    let values = [("n".to_owned(), serde_json::json!(5)), ("t".to_owned(), serde_json::json!("2d"))];
    let answer = crate::kql::run_with_parameters(query, &super::catalog(), values.into()).unwrap();
    let row: Vec<String> = answer.rows.flat_map(Result::unwrap).map(|value| value.to_text().into_owned()).collect();
    assert_eq!(row, ["5", "x", "2.00:00:00"]);
}

#[test]
fn hints_are_read_and_ignored() {
    assert_eq!(rows("Events | summarize hint.strategy=shuffle count() by Id | count"), ["3"]);
    assert_eq!(rows("Events | join hint.shufflekey=Id kind=leftsemi Events on Id | count"), ["3"]);
}

#[test]
fn what_does_not_fit_into_memory_is_an_error_of_the_rows() {
    for operator in ["summarize count() by x", "sort by x", "distinct x", "join (print x = 1) on x", "where x in (R)"] {
        let query = format!("let R = range x from 1 to 1000000000000 step 1; R | {operator}");
        let query = query.replace("R | join (print x = 1)", "print x = 1 | join R");
        match crate::kql::run(&query, &super::catalog()) {
            Err(error) => assert_eq!(error.kind, crate::kql::ErrorKind::Runtime, "{query}"),
            Ok(answer) => {
                let error = answer.rows.map(Result::err).find(Option::is_some).flatten().unwrap();
                assert_eq!(error.kind, crate::kql::ErrorKind::Runtime, "{query}");
            }
        }
    }
}
