use super::{eval, rows};

fn check(cases: &[(&str, &str)]) {
    for (expression, expected) in cases {
        assert_eq!(eval(expression), *expected, "{expression}");
    }
}

#[test]
fn arithmetic_follows_the_types() {
    check(&[
        ("1 / 2", "0"),
        ("1.0 / 2", "0.5"),
        ("real(1) / 2", "0.5"),
        ("14 % 12, -14 % 12, 14 % -12, -14 % -12", "2,10,2,10"),
        ("1d / 5h", "4.8"),
        ("1.5 * 1h", r#""01:30:00""#),
        ("datetime(1910-06-11) + 1d", r#""1910-06-12T00:00:00.0000000Z""#),
        ("datetime(1997-06-25) - datetime(1910-06-11)", r#""31791.00:00:00""#),
        ("1 / 0", "null"),
        ("9223372036854775807 + 1", "null"),
        ("2 + 3 * 4 - -1", "15"),
        ("-(2 + 3)", "-5"),
        ("long(null) + 1", "null"),
    ]);
}

#[test]
fn null_is_equal_to_nothing_and_ordered_with_nothing() {
    check(&[
        ("int(5) == int(null), int(5) != int(null)", "false,true"),
        ("int(null) == int(null), int(null) != int(null)", "null,null"),
        ("int(null) > 3, int(null) > 3 or isnull(int(null))", "null,true"),
        ("int(null) > 3 and false", "false"),
        ("not(bool(null))", "null"),
        ("isnull(''), isempty(''), isnotempty(dynamic(null))", "false,true,false"),
    ]);
    assert_eq!(rows("datatable(i:int, s:string)[5, 'a', int(null), 'b'] | where i != 5"), [r#"null,"b""#]);
}

#[test]
fn bins_round_down_to_multiples() {
    check(&[
        ("bin(4.5, 1)", "4.0"),
        ("bin(time(16d), 7d)", r#""14.00:00:00""#),
        ("bin(datetime(1970-05-11 13:45:07), 1d)", r#""1970-05-11T00:00:00.0000000Z""#),
        ("bin(-7, 5), floor(7, 5), bin(7, 0), bin(7, -5)", "-10,5,null,null"),
        // Bins of datetimes count from 0001-01-01, which was a Monday.
        ("bin(datetime(2026-04-14), 7d)", r#""2026-04-13T00:00:00.0000000Z""#),
        ("bin(datetime(null), 1d)", "null"),
    ]);
}

#[test]
fn hashes_are_those_of_the_documentation() {
    check(&[
        (r#"hash("World"), hash_xxhash64("World"), hash("World", 100)"#, "1846988464401551951,1846988464401551951,51"),
        (r#"hash(datetime("2015-01-01"))"#, "1380966698541616202"),
        (r#"hash_sha256("World")"#, r#""78ae647dc5544d227130a0682a51e30bc7777fbb6d8a8f17007463a3ecd1d524""#),
    ]);
}

#[test]
fn text_functions_give_what_the_documentation_says() {
    check(&[
        (r#"countof("aaa", "a"), countof("aaaa", "aa"), countof("ababa", "aba")"#, "3,3,2"),
        (r#"countof("ababa", "aba", "regex"), countof("abcabc", "a.c", "regex")"#, "1,2"),
        (
            r#"split("aa_bb", "_"), split("aaa_bbb_ccc", "_", 1), split("", "_"), split("a__b", "_")"#,
            r#"["aa","bb"],["bbb"],[""],["a","","b"]"#,
        ),
        (
            r#"substring("123456", 1), substring("123456", 2, 2), substring("ABCD", 0, 2), substring("123456", -2, 2)"#,
            r#""23456","34","AB","56""#,
        ),
        (r#"indexof("abcdefg","cde"), indexof("abcdefg","cde",1,4), indexof("abcdefg","cde",1,2)"#, "2,2,-1"),
        (r#"indexof("abcdefg","cde",3,4), indexof("abcdefg","cde",-5), indexof(1234567,5,1,4)"#, "-1,2,4"),
        (r#"indexof("abcdefgabcdefg", "cde", 1, 10, 2), indexof("abcdefgabcdefg", "cde", 1, -1, 3)"#, "9,-1"),
        (r#"trim("--", "--https://bing.com--"), trim(@"[^\w]+", "-  Te st1// $")"#, r#""https://bing.com","Te st1""#),
        (
            r#"strcat("a", 1, true, datetime(2026-01-01)), strlen("é😀"), string_size("é😀")"#,
            r#""a1true2026-01-01T00:00:00.0000000Z",2,6"#,
        ),
        (r#"replace_string("aXbX", "X", "-"), tolower("ÄB"), toupper("äb")"#, r#""a-b-","äb","ÄB""#),
        (r#"extract("x=([0-9.]+)", 1, "hello x=45.6|wo"), replace_regex("abc", "(b)", @"[\1]")"#, r#""45.6","a[b]c""#),
    ]);
}

#[test]
fn an_occurrence_beyond_the_last_is_not_looked_for_forever() {
    check(&[(r#"indexof("abc", "", 0, -1, 9223372036854775807)"#, "-1")]);
}

#[test]
fn text_tests_look_for_terms_or_characters() {
    check(&[
        (
            r#""North America" has "america", "North America" has "amer", "North America" contains "AMER""#,
            "true,false,true",
        ),
        (r#""a-b_c" has "b_c", "a-b_c" has "b", "x1 y" has_cs "X1""#, "true,true,false"),
        (
            r#""abc" startswith "AB", "abc" startswith_cs "AB", "abc" endswith "BC", "abc" !endswith "bc""#,
            "true,false,true,false",
        ),
        (r#""abc" =~ "ABC", "abc" !~ "ABC", "abc" == "ABC", "ab" matches regex "^a.$""#, "true,false,false,true"),
        (r#""a b c" has_any ("x", "c"), "a b c" has_all ("a", "x"), "abc" hasprefix "AB""#, "true,false,true"),
        (
            r#""a" in ("A", "b"), "a" in~ ("A", "b"), "a" !in ("A"), 2 in (1, 2.0), 3 in (dynamic([1, 3]))"#,
            "false,true,true,true,true",
        ),
        (
            "5 between (1 .. 5), 6 !between (1 .. 5), datetime(2026-01-03) between (datetime(2026-01-01) .. 1d)",
            "true,true,false",
        ),
    ]);
}

#[test]
fn conversions_give_null_for_what_does_not_fit() {
    check(&[
        (r#"tolong("12"), tolong("x"), toint(3000000000), tolong(3.9), tolong("0x10")"#, "12,null,null,3,16"),
        (r#"todouble("1.5"), tobool("true"), tobool("2"), toguid("x")"#, "1.5,true,true,null"),
        (
            r#"todatetime("2015-12-31"), todatetime("x"), totimespan("0.00:01:00")"#,
            r#""2015-12-31T00:00:00.0000000Z",null,"00:01:00""#,
        ),
        (
            r#"tostring(5.0), tostring(0.1), tostring(1e20), tostring(true), tostring(1d), tostring(long(null))"#,
            r#""5","0.1","1E+20","true","1.00:00:00","""#,
        ),
        (r#"tostring(dynamic({"a":"x"})), tostring(dynamic("x"))"#, r#""{\"a\":\"x\"}","x""#),
    ]);
}

#[test]
fn dynamic_values_are_taken_apart_and_put_together() {
    check(&[
        (r#"parse_json('{"a":{"b":[10,20]}}').a["b"][1], parse_json('[1,2,3]')[-1], parse_json('[1]').x"#, "20,3,null"),
        (r#"parse_json('{"a":{"b":1}}')["a"].b == 1, parse_json('{"a":"x"}').a == "x""#, "true,true"),
        (r#"bag_pack("k", 1, "l", datetime(null)), pack_array(1, "a")"#, r#"{"k":1,"l":null},[1,"a"]"#),
        (
            r#"array_length(dynamic([1,2])), array_length(dynamic({})), bag_keys(dynamic({"a":1,"b":2}))"#,
            r#"2,null,["a","b"]"#,
        ),
        (r#"bag_remove_keys(dynamic({'key1': 123, 'key2': 'abc'}), dynamic(['key2', 'key4']))"#, r#"{"key1":123}"#),
        (
            r#"bag_remove_keys(dynamic({'key1': 123, 'key2': {'prop1': 'abc', 'prop2': 'xyz'}}), dynamic(['$.key2.prop1']))"#,
            r#"{"key1":123,"key2":{"prop2":"xyz"}}"#,
        ),
        (
            r#"parse_json("no json"), parse_json(""), tolong(parse_json("639199803770463703"))"#,
            r#""no json",null,639199803770463703"#,
        ),
    ]);
}

#[test]
fn dates_are_moved_and_measured() {
    check(&[
        ("now(), ago(1h)", r#""2026-04-14T07:00:00.0000000Z","2026-04-14T06:00:00.0000000Z""#),
        (
            "startofday(datetime(2017-01-01 10:10:17), -1), endofday(datetime(2017-01-01 10:10:17))",
            r#""2016-12-31T00:00:00.0000000Z","2017-01-01T23:59:59.9999999Z""#,
        ),
        (
            "startofweek(datetime(2017-01-01 10:10:17)), startofmonth(datetime(2017-01-31), 1), endofmonth(datetime(2016-02-10))",
            r#""2017-01-01T00:00:00.0000000Z","2017-02-01T00:00:00.0000000Z","2016-02-29T23:59:59.9999999Z""#,
        ),
        (
            "datetime_add('month', 1, datetime(2017-01-31)), datetime_add('week', -1, datetime(2018-01-01))",
            r#""2017-02-28T00:00:00.0000000Z","2017-12-25T00:00:00.0000000Z""#,
        ),
        (
            "datetime_diff('year',datetime(2017-01-01),datetime(2000-12-31)), datetime_diff('quarter',datetime(2017-07-01),datetime(2017-03-30)), datetime_diff('month',datetime(2017-01-01),datetime(2015-12-30))",
            "17,2,13",
        ),
        (
            "datetime_diff('week',datetime(2017-10-29 00:00),datetime(2017-09-30 23:59)), datetime_diff('day',datetime(2017-10-29 00:00),datetime(2017-09-30 23:59)), datetime_diff('hour',datetime(2017-10-31 01:00),datetime(2017-10-30 23:59))",
            "5,29,2",
        ),
        (
            "datetime_diff('millisecond',datetime(2017-10-30 23:00:00.200100),datetime(2017-10-30 23:00:00.100900)), datetime_diff('nanosecond',datetime(2017-10-30 23:00:00.0000000),datetime(2017-10-30 23:00:00.0000007))",
            "100,-700",
        ),
        (
            "format_datetime(datetime(2017-01-29 09:00:05),'yy-MM-dd [HH:mm:ss]'), format_datetime(datetime(2017-01-29 09:00:05), 'yyyy-M-dd [H:mm:ss]'), format_datetime(datetime(2017-01-29 09:00:05), 'yy-MM-dd [hh:mm:ss tt]')",
            r#""17-01-29 [09:00:05]","2017-1-29 [9:00:05]","17-01-29 [09:00:05 AM]""#,
        ),
        (
            "unixtime_seconds_todatetime(1546300899), make_datetime(2017,10,01,12,10), dayofweek(datetime(2026-04-14))",
            r#""2019-01-01T00:01:39.0000000Z","2017-10-01T12:10:00.0000000Z","2.00:00:00""#,
        ),
    ]);
}

#[test]
fn choices_take_the_first_that_holds() {
    check(&[
        ("iff(1 > 2, 'a', 'b'), iif(bool(null), 1, 2), case(false, 1, true, 2, 3)", r#""b",2,2"#),
        ("coalesce(tolong('x'), tolong('42'), 33), coalesce('', 'b')", r#"42,"b""#),
        ("max_of(1, 2.5), min_of(long(null), 3), abs(-5), round(2.567, 2), ceiling(1.2)", "2.5,3,5,2.57,2.0"),
    ]);
}

#[test]
fn the_estimated_size_of_a_row_is_that_of_its_values() {
    let query = "range x from 1 to 10 step 1 | extend Text = '1234567890' | summarize Total=sum(estimate_data_size(*))";
    assert_eq!(rows(query), ["180"]);
}

#[test]
fn a_column_that_may_be_missing_has_a_stand_in() {
    let query = "Events | where Id == 1 | project column_ifexists('Name', ''), x = column_ifexists('Nope', Id)";
    assert_eq!(rows(query), [r#""alpha",1"#]);
}
