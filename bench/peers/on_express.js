// Express with express-session: node on_express.js STORE PORT, where STORE is a store's URL.
"use strict";

const express = require("express");
const session = require("express-session");

const STORES = {
  async memory() {
    return new session.MemoryStore();
  },
  async sqlite(url) {
    const Store = require("better-sqlite3-session-store")(session);
    const client = new (require("better-sqlite3"))(url.replace("sqlite:///", ""));
    client.pragma("journal_mode = WAL");
    client.pragma("synchronous = FULL");
    return new Store({ client });
  },
  async postgresql(url) {
    const Store = require("connect-pg-simple")(session);
    const pool = new (require("pg").Pool)({ connectionString: url });
    return new Store({ pool, tableName: "express_session", createTableIfMissing: true });
  },
  async redis(url) {
    const client = require("redis").createClient({ url });
    await client.connect();
    return new (require("connect-redis").RedisStore)({ client });
  },
};

async function main(url, port) {
  const store = await STORES[url.split(":")[0]](url);
  const app = express();
  app.get("/bare", (request, response) => response.send("Hello Ada"));
  app.use(session({ secret: "of the benchmark", store, resave: false, saveUninitialized: false }));
  app.get("/read", (request, response) => response.send(`Hello ${request.session.username}`));
  app.get("/write", (request, response) => {
    request.session.visits = (request.session.visits || 0) + 1;
    response.send("Hello Ada");
  });
  app.get("/login", (request, response, next) => {
    request.session.regenerate((error) => {
      if (error) return next(error);
      request.session.user_id = "ada";
      request.session.username = "Ada";
      response.send("Hello Ada");
    });
  });
  app.get("/set", (request, response) => {
    setTimeout(() => {
      request.session[request.query.key] = 1;
      response.send("Hello Ada");
    }, Number(request.query.after));
  });
  app.get("/logout", (request, response, next) => {
    request.session.destroy((error) => (error ? next(error) : response.send("Goodbye")));
  });
  app.get("/session", (request, response) => {
    const { cookie, ...data } = request.session;
    response.json(data);
  });
  app.listen(Number(port), "127.0.0.1");
}

main(...process.argv.slice(2));
