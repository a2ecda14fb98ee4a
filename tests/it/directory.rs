//! What an agent's screen needs beside tickets, from a real gateway over the stand-in Desk: lists and their ages,
//! customers and who they are, links to files, the commands for people, and grpcurl on each rpc.

use std::process::{Command, Output};

use deskgate::grpc::pb;
use deskgate::grpc::pb::directory_service_client::DirectoryServiceClient;
use futures_util::future::join_all;
use pb::content::Kind;
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::Code;
use tonic::transport::Channel;

use crate::clients::tool;
use crate::support::{KEY, Process, TOKEN, World, reason_of, ticket};

/// The router's key, as the stand-in Desk has it.
const ROUTER_KEY: &str = "cm91dGVyOnJvdXRlcg==";

impl World {
    async fn directory(&self) -> DirectoryServiceClient<Channel> {
        DirectoryServiceClient::new(self.channel().await)
    }

    /// The stand-in Desk with the router's key in the gateway's hands.
    async fn behind_a_router() -> (Self, TempDir) {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("router.key");
        std::fs::write(&file, format!("Key {ROUTER_KEY}\n")).unwrap();
        let more =
            format!("router_key_file = \"{}\"\nrouter_identity = \"router@msging.net\"", file.display());
        (Self::with(&more).await, folder)
    }

    async fn set(&self, path: &str, body: Value) {
        let answer = self.http.put(self.desk_url(path)).body(body.to_string()).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap());
    }

    /// How many commands the stand-in Desk has seen whose URI begins so.
    async fn asked(&self, uri: &str) -> usize {
        let state = self.desk_state().await;
        let requests = state["requests"].as_array().unwrap();
        let of = |request: &&Value| request["envelope"]["uri"].as_str().is_some_and(|is| is.starts_with(uri));
        requests.iter().filter(of).count()
    }

    async fn customer_of(&self, identity: &str) -> Result<pb::Customer, tonic::Status> {
        let request = pb::GetCustomerRequest { customer_identity: identity.to_owned(), ..Default::default() };
        let answer = self.directory().await.get_customer(request).await?;
        Ok(answer.into_inner().customer.unwrap())
    }
}

fn is_young(age: Option<prost_types::Duration>) -> bool {
    age.is_some_and(|age| (0..=30).contains(&age.seconds))
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_blips_with_their_age() {
    let world = World::start().await;
    let mut directory = world.directory().await;
    let mut request = pb::ListAgentsRequest { page_size: 2, ..Default::default() };
    let mut pages = Vec::new();
    loop {
        let page = directory.list_agents(request.clone()).await.unwrap().into_inner();
        assert!(is_young(page.age));
        pages.push(page.agents);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
    let maria = &pages[1][0];
    assert_eq!(maria.agent_identity, "maria.souza%40example.com@blip.ai");
    assert_eq!((maria.email.as_str(), maria.full_name.as_str()), ("maria.souza@example.com", "Maria Souza"));
    assert_eq!((maria.status.as_str(), maria.slots), ("Online", 3));
    assert_eq!(maria.teams, ["Default", "Suporte", "Financeiro"]);

    let teams = directory.list_teams(pb::ListTeamsRequest::default()).await.unwrap().into_inner();
    let counts: Vec<_> = teams.teams.iter().map(|team| (team.name.as_str(), team.agents_online)).collect();
    let expected = [("Default", 2), ("Suporte", 1), ("Financeiro", 1), ("Vendas", 1), ("DIRECT_TRANSFER", 0)];
    assert_eq!(counts, expected);
    assert!(is_young(teams.age));

    let tags = directory.list_tags(pb::ListTagsRequest::default()).await.unwrap().into_inner();
    assert!(
        ["vendas", "suporte", "financeiro"].iter().all(|tag| tags.tags.iter().any(|is| is == tag)),
        "{tags:?}"
    );
    assert!(is_young(tags.age));

    let categories = directory.list_replies(pb::ListRepliesRequest::default()).await.unwrap().into_inner();
    assert!(categories.replies.iter().all(|category| category.content.is_none()), "{categories:?}");
    let category = categories.replies.iter().find(|reply| reply.category == "greetings").unwrap().id.clone();
    let request = pb::ListRepliesRequest { category, page_size: 1, ..Default::default() };
    let first = directory.list_replies(request.clone()).await.unwrap().into_inner();
    let page_token = first.next_page_token.clone();
    let second = pb::ListRepliesRequest { page_token, ..request };
    let second = directory.list_replies(second).await.unwrap().into_inner();
    let [hi, by_name] = [&first, &second].map(|page| page.replies[0].clone());
    assert_eq!((hi.name.as_str(), hi.dynamic), ("Hi friend", false));
    assert_eq!(hi.content.unwrap().kind, Some(Kind::Text("Some text".to_owned())));
    assert_eq!((by_name.name.as_str(), by_name.dynamic), ("By name", true));
    assert!(is_young(first.age) && is_young(second.age));
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_read_by_shape() {
    let world = World::start().await;
    world.set("/settings", json!({"odd_shapes": true})).await;
    let mut directory = world.directory().await;
    let agents = directory.list_agents(pb::ListAgentsRequest::default()).await.unwrap().into_inner().agents;
    assert_eq!((agents.len(), agents[1].full_name.as_str(), agents[1].slots), (3, "João Lima", 3));
    let teams = directory.list_teams(pb::ListTeamsRequest::default()).await.unwrap().into_inner().teams;
    assert_eq!((teams.len(), teams[0].agents_online), (5, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_callers_cost_blip_one_question() {
    let world = World::start().await;
    let directory = world.directory().await;
    let lists = |count: usize| {
        join_all((0..count).map(|_| {
            let mut directory = directory.clone();
            async move { directory.list_agents(pb::ListAgentsRequest::default()).await.unwrap().into_inner() }
        }))
    };
    // The answer is late, so that all of them are there before it.
    let fault =
        json!({"on": "commands", "match": {"uri_contains": "/attendants"}, "kind": "delay", "ms": 300});
    world.desk("/faults", fault).await;
    let first = lists(100).await;
    assert!(first.iter().all(|list| list.agents == first[0].agents && list.agents.len() == 3));
    assert_eq!(world.asked("/attendants").await, 1);
    world.set("/directory", json!({"agents": []})).await;
    let later = lists(20).await;
    let age = |list: &pb::ListAgentsResponse| list.age.unwrap();
    assert!(later.iter().all(|list| list.agents == first[0].agents), "they are kept for a while");
    assert!(later.iter().all(|list| (age(list).seconds, age(list).nanos) > (0, 0)));
    assert_eq!(world.asked("/attendants").await, 1);
    let other = pb::ListAgentsRequest { page_size: 7, ..Default::default() };
    let fresh = directory.clone().list_agents(other).await.unwrap().into_inner();
    assert!(fresh.agents.is_empty(), "another page is another question");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_router_tells_who_is_behind_a_tunnel() {
    let (world, _key) = World::behind_a_router().await;
    let opening = json!({"name": "Ana Exemplo", "domain": "tunnel.msging.net", "text": "oi"});
    let opened = world.desk("/customers", opening).await;
    let tunnel = opened["customer_identity"].as_str().unwrap();
    assert!(tunnel.ends_with("@tunnel.msging.net"), "{opened}");
    let customer = world.customer_of(tunnel).await.unwrap();
    assert_eq!(customer.identity, tunnel);
    assert!(customer.resolved_identity.ends_with(".gw.msging.net"), "{customer:?}");
    assert_eq!(customer.contact.unwrap().name, "Ana Exemplo");
    assert!(customer.more.unwrap().fields.contains_key("extras"));
    assert_eq!(world.asked("/tunnels/").await, 1);

    let (direct, _) = world.customer("oi").await;
    let customer = world.customer_of(&direct).await.unwrap();
    assert_eq!(
        (customer.identity.as_str(), customer.resolved_identity.as_str()),
        (direct.as_str(), direct.as_str())
    );
    assert_eq!(world.asked("/tunnels/").await, 1, "who is on a channel is known");

    let error = world.customer_of("5500000000000@wa.gw.msging.net").await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    let (reason, metadata) = reason_of(&error);
    assert_eq!(reason, "CUSTOMER_NOT_FOUND");
    assert_eq!(metadata["customer_identity"], "5500000000000@wa.gw.msging.net");
    let nobody = "2bdcd8d0-9e69-484f-a88a-d5a529708864@tunnel.msging.net";
    assert_eq!(reason_of(&world.customer_of(nobody).await.unwrap_err()).0, "CUSTOMER_NOT_FOUND");
    // The router is out of reach, and the contact tells.
    let fault = json!({"on": "commands", "match": {"uri_contains": "/tunnels/"}, "kind": "status", "code": 503, "times": 9});
    world.desk("/faults", fault).await;
    let customer = world.customer_of(tunnel).await.unwrap();
    assert!(customer.resolved_identity.ends_with(".gw.msging.net"), "{customer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_routers_key_that_is_refused_is_told() {
    let (world, _key) = World::behind_a_router().await;
    let opening = json!({"name": "Ana Exemplo", "domain": "tunnel.msging.net", "text": "oi"});
    let opened = world.desk("/customers", opening).await;
    let fault =
        json!({"on": "commands", "match": {"uri_contains": "/tunnels/"}, "kind": "status", "code": 401});
    world.desk("/faults", fault).await;
    world.customer_of(opened["customer_identity"].as_str().unwrap()).await.unwrap();
    let request = pb::SubscribeRequest {
        filter: Some(pb::EventFilter { types: vec!["gateway.*".to_owned()], ..Default::default() }),
        start: Some(crate::support::at(pb::start_position::Position::Earliest(true))),
        limit: 1,
        ..Default::default()
    };
    let event = world.read(request).await.remove(0);
    let Some(pb::event::Payload::GatewayAlert(alert)) = event.payload else { panic!("{event:?}") };
    assert_eq!(alert.reason, "ROUTER_CREDENTIAL_REJECTED");
    assert!(alert.description.contains("router_key_env"), "{}", alert.description);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_proves_the_routers_key_too() {
    let (world, key) = World::behind_a_router().await;
    let check = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_deskgate"));
        command
            .args(["check", "--config", "deskgate.toml", "--online"])
            .current_dir(world.folder.path())
            .env_clear();
        command.env("SUPORTE_BLIP_KEY", KEY).env("SUPORTE_WEBHOOK_TOKEN", TOKEN);
        let Output { status, stdout, stderr } = command.output().unwrap();
        (status.code(), String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap())
    };
    let (code, said) = check();
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("bots[suporte]: Blip takes the key") && said.contains("Blip takes the router's key"),
        "{said}"
    );
    std::fs::write(key.path().join("router.key"), "d3Jvbmc6d3Jvbmc=").unwrap();
    let (code, said) = check();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("bots[suporte]: the router's key: Blip did not answer a ping"), "{said}");
    assert!(said.contains("the router's key is that of `wrong`, not of router@msging.net"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_router_the_contact_tells_and_else_the_log() {
    let world = World::start().await;
    let opening = json!({"name": "Ana", "domain": "tunnel.msging.net", "text": "oi"});
    let opened = world.desk("/customers", opening).await;
    let tunnel = opened["customer_identity"].as_str().unwrap();
    let by_contact = world.customer_of(tunnel).await.unwrap().resolved_identity;
    assert!(by_contact.ends_with(".gw.msging.net"), "{by_contact}");
    assert_eq!(world.asked("/tunnels/").await, 0, "only a router may ask");

    // A contact that is set anew has only what was set.
    let command = json!({"id": "1", "to": "postmaster@crm.msging.net", "method": "set", "uri": "/contacts",
        "type": "application/vnd.lime.contact+json", "resource": {"identity": tunnel, "name": "Ana B"}});
    let request = world.http.post(world.blip_url("/commands")).header("Authorization", format!("Key {KEY}"));
    let answer = request.body(command.to_string()).send().await.unwrap().text().await.unwrap();
    assert!(answer.contains("\"success\""), "{answer}");
    let customer = world.customer_of(tunnel).await.unwrap();
    assert_eq!(customer.contact.unwrap().name, "Ana B");
    assert_eq!(customer.resolved_identity, "", "nobody told yet");
    let saying = json!({"text": "sou eu", "metadata": {"#tunnel.originator": by_contact}});
    world.desk(&format!("/customers/{tunnel}/messages"), saying).await;
    world.customer("outra pessoa").await;
    let customer = world.customer_of(tunnel).await.unwrap();
    assert_eq!(customer.resolved_identity, by_contact, "a message told it");

    // Whom Blip has no contact of is known by its ticket.
    let unmet = "0f3c@tunnel.msging.net";
    let document = ticket("t-9", "Waiting").replace("c@0mn.io", unmet);
    let mut document: Value = serde_json::from_str(&document).unwrap();
    document["content"]["routingCustomerIdentity"] = json!("5531988887777@wa.gw.msging.net");
    assert_eq!(world.post(document.to_string()).await, 200);
    let customer = world.customer_of(unmet).await.unwrap();
    let resolved = "5531988887777@wa.gw.msging.net";
    assert_eq!((customer.resolved_identity.as_str(), customer.contact), (resolved, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn contacts_may_be_kept_elsewhere() {
    let world = World::with("crm = \"postmaster@msging.net\"").await;
    let opened = world.desk("/customers", json!({"name": "Ana", "text": "oi"})).await;
    let customer = world.customer_of(opened["customer_identity"].as_str().unwrap()).await.unwrap();
    assert_eq!(customer.contact.unwrap().name, "Ana");
    let state = world.desk_state().await;
    let mut sent = state["requests"].as_array().unwrap().iter().map(|request| &request["envelope"]);
    let asked = sent.find(|envelope| envelope["uri"].as_str().unwrap_or_default().starts_with("/contacts/"));
    assert_eq!(asked.unwrap()["to"], "postmaster@msging.net");
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_are_named() {
    let more = "[[bots]]\nname = \"vendas\"\nidentity = \"vendas@msging.net\"\nurl = \"http://127.0.0.1:1\"\nkey_env = \"SUPORTE_BLIP_KEY\"";
    let world = World::with(more).await;
    let directory = world.directory().await;
    let agents = |bot: &str, page_size: i32, page_token: &str| {
        let mut directory = directory.clone();
        let (bot, page_token) = (bot.to_owned(), page_token.to_owned());
        async move { directory.list_agents(pb::ListAgentsRequest { bot, page_size, page_token }).await }
    };
    let page = agents("suporte", 1, "").await.unwrap().into_inner();
    for (request, code, reason) in [
        (agents("", 0, "").await, Code::InvalidArgument, "INVALID_FIELD"),
        (agents("nobody", 0, "").await, Code::NotFound, "BOT_UNKNOWN"),
        (agents("suporte", -1, "").await, Code::InvalidArgument, "INVALID_FIELD"),
        (agents("suporte", 1, "x").await, Code::InvalidArgument, "CURSOR_MALFORMED"),
        (agents("vendas", 1, &page.next_page_token).await, Code::InvalidArgument, "CURSOR_MALFORMED"),
        (agents("vendas", 0, "").await, Code::Unavailable, "BLIP_UNAVAILABLE"),
    ] {
        let error = request.unwrap_err();
        assert_eq!((error.code(), reason_of(&error).0.as_str()), (code, reason), "{error:?}");
    }
    let lay = |fault: Value| {
        let mut whole = json!({"on": "commands", "match": {"uri_contains": "/tags/active"}});
        whole.as_object_mut().unwrap().extend(fault.as_object().unwrap().clone());
        world.desk("/faults", whole)
    };
    let tags = || {
        let mut directory = directory.clone();
        async move { directory.list_tags(pb::ListTagsRequest { bot: "suporte".to_owned() }).await }
    };
    for (fault, code, reason, blip_code) in [
        (json!({"kind": "failure", "code": 67}), Code::NotFound, "BLIP_NOT_FOUND", Some("67")),
        (json!({"kind": "failure", "code": 21}), Code::InvalidArgument, "BLIP_REJECTED", Some("21")),
        (json!({"kind": "failure", "code": 34}), Code::ResourceExhausted, "BLIP_QUOTA_EXCEEDED", Some("34")),
        (json!({"kind": "failure"}), Code::FailedPrecondition, "BLIP_REJECTED", None),
        (json!({"kind": "status", "code": 401}), Code::FailedPrecondition, "BLIP_CREDENTIAL_REJECTED", None),
        (json!({"kind": "status", "code": 500, "times": 3}), Code::Unavailable, "BLIP_UNAVAILABLE", None),
    ] {
        lay(fault.clone()).await;
        let error = tags().await.unwrap_err();
        let (is, metadata) = reason_of(&error);
        assert_eq!((error.code(), is.as_str()), (code, reason), "{fault}: {error:?}");
        assert_eq!(metadata.get("blip_code").map(String::as_str), blip_code, "{fault}");
    }
    lay(json!({"kind": "drop_after"})).await;
    assert!(!tags().await.unwrap().into_inner().tags.is_empty(), "a read is asked again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_a_list() {
    let mut world = World::start().await;
    let fault = json!({"on": "commands", "match": {"uri_contains": "/attendants"}, "kind": "hang"});
    world.desk("/faults", fault).await;
    let mut directory = world.directory().await;
    let asking = tokio::spawn(async move { directory.list_agents(pb::ListAgentsRequest::default()).await });
    while world.asked("/attendants").await == 0 {
        let revision = world.desk_state().await["revision"].clone();
        if world.asked("/attendants").await == 0 {
            world.http.get(world.desk_url(&format!("/changes/{revision}"))).send().await.unwrap();
        }
    }
    world.gateway.signal("TERM");
    let error = asking.await.unwrap().unwrap_err();
    assert_eq!((error.code(), reason_of(&error).0.as_str()), (Code::Unavailable, "STREAM_DRAINING"));
    assert!(world.gateway.wait().success());
    let log = world.gateway.rest_of_log();
    assert!(log.contains("stopped") && !log.contains("abandoned"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_show_people() {
    let world = World::start().await;
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_deskgate"));
        command.args(args).env_clear().env("DESKGATE_SERVER", world.gateway.address("grpc"));
        let Output { status, stdout, stderr } = command.output().unwrap();
        (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
    };
    let (code, table, _) = run(&["agents"]);
    assert_eq!(code, Some(0));
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(
        lines[0].split_whitespace().collect::<Vec<_>>(),
        ["AGENT", "NAME", "STATUS", "TICKETS", "TEAMS"]
    );
    assert_eq!(lines.len(), 4, "{table}");
    assert!(lines[3].starts_with("maria.souza@example.com  Maria Souza"), "{table}");
    assert!(lines[3].ends_with("Default, Suporte, Financeiro"), "{table}");
    let column = lines[0].find("STATUS").unwrap();
    assert!(lines[1].get(column..).unwrap().starts_with("Pause"), "{table}");
    let (_, few, _) = run(&["agents", "--team", "financeiro", "--status", "online", "--json"]);
    let few: Vec<Value> = few.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((few.len(), &few[0]["email"]), (1, &json!("maria.souza@example.com")));
    let (code, table, _) = run(&["teams", "--bot", "suporte"]);
    assert_eq!(code, Some(0));
    assert_eq!(table.lines().next().unwrap().split_whitespace().collect::<Vec<_>>(), ["TEAM", "ONLINE"]);
    assert!(table.contains("\nDefault") && table.lines().count() == 6, "{table}");
    let (_, json, _) = run(&["teams", "--json"]);
    let first: Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!(first, json!({"name": "Default", "agentsOnline": 2}));
    for (args, code, said) in [
        (&["agents", "--bot", "nobody"][..], 1, "no bot is called nobody"),
        (&["teams", "--server", "127.0.0.1:1"], 1, "no gateway answers at 127.0.0.1:1"),
        (&["agents", "--teem", "x"], 2, "--team"),
    ] {
        let (is, _, stderr) = run(args);
        assert_eq!(is, Some(code), "{args:?}: {stderr}");
        assert!(stderr.contains(said), "{args:?}: {stderr}");
    }
    let (code, stdout, stderr) = run(&["agents", "--team", "Nenhum"]);
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (Some(0), "", "-- nobody works there\n"));
}

/// Every rpc, as a user calls it: against `deskgate sandbox`, which needs no configuration.
#[tokio::test(flavor = "multi_thread")]
async fn grpcurl_calls_each_rpc_of_the_sandbox() {
    let folder = TempDir::new().unwrap();
    let free = ["--desk-listen", "--webhook-listen", "--grpc-listen", "--admin-listen"];
    let args: Vec<&str> =
        std::iter::once("sandbox").chain(free.into_iter().flat_map(|flag| [flag, "127.0.0.1:0"])).collect();
    let sandbox = Process::start(folder.path(), &args, &[("TMPDIR", folder.path().to_str().unwrap())]);
    let call = |method: &str, request: Value| {
        let output = Command::new(tool("bin/grpcurl"))
            .args(["-plaintext", "-d", &request.to_string(), &sandbox.address("grpc")])
            .arg(format!("deskgate.v1.DirectoryService/{method}"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{method}: {said}");
        said.into_owned()
    };
    let one = |said: String| serde_json::from_str::<Value>(&said).unwrap();
    let desk = format!("http://{}", sandbox.address("desk"));
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let control = async |path: &str, body: Value| -> Value {
        let answer = http.post(format!("{desk}{path}")).body(body.to_string()).send().await.unwrap();
        serde_json::from_str(&answer.text().await.unwrap()).unwrap()
    };

    let agents = one(call("ListAgents", json!({})));
    assert_eq!(agents["agents"].as_array().unwrap().len(), 3, "{agents}");
    assert!(agents["age"].as_str().unwrap().ends_with('s'), "{agents}");
    assert_eq!(one(call("ListTeams", json!({})))["teams"][0], json!({"name": "Default", "agentsOnline": 2}));
    assert!(one(call("ListTags", json!({})))["tags"].as_array().unwrap().contains(&json!("vendas")));
    let replies = one(call("ListReplies", json!({"category": "billing"})));
    assert_eq!(replies["replies"][0]["content"]["text"], "Segue a segunda via.");

    let opened =
        control("/customers", json!({"name": "Ana", "domain": "tunnel.msging.net", "text": "oi"})).await;
    let customer = one(call("GetCustomer", json!({"customer_identity": opened["customer_identity"]})));
    let customer = &customer["customer"];
    assert!(customer["resolvedIdentity"].as_str().unwrap().ends_with(".gw.msging.net"), "{customer}");
    assert_eq!(customer["contact"]["name"], "Ana");

    let file = control("/media", json!({"text": "segredo", "guard": "signed", "expired": true})).await;
    let refreshed = one(call("RefreshMedia", json!({"uri": file["content"]["uri"]})));
    let fetched = call("FetchMedia", json!({"uri": refreshed["uri"]}));
    let messages: Vec<Value> =
        serde_json::Deserializer::from_str(&fetched).into_iter().collect::<Result<_, _>>().unwrap();
    assert_eq!(messages[0], json!({"mimeType": "text/plain", "sizeBytes": "7"}), "{fetched}");
    assert_eq!(messages[1], json!({"chunk": "c2VncmVkbw=="}), "{fetched}");
    let upload = one(call("CreateMediaUpload", json!({"secure": true})));
    let sent = http.post(upload["uploadUri"].as_str().unwrap()).body("novo").send().await.unwrap();
    let sent: Value = serde_json::from_str(&sent.text().await.unwrap()).unwrap();
    assert!(call("FetchMedia", json!({"uri": sent["mediaUri"]})).contains("bm92bw=="));
    let keyed = control("/media", json!({"text": "da chave", "guard": "keyed"})).await;
    let request = json!({"uri": keyed["content"]["uri"], "authorization_realm": "blip"});
    assert!(call("FetchMedia", request).contains("ZGEgY2hhdmU="));
}
