// How long a matrix-js-sdk client takes until it is PREPARED.
//
// node js_sdk_prepared.mjs LOGIN
//
// As nio_full_state.py: the same login, the same line.

import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import * as sdk from "matrix-js-sdk";
import { logger } from "matrix-js-sdk/lib/logger.js";

logger.setLevel("error");
const login = JSON.parse(readFileSync(process.argv[2], "utf8"));
const client = sdk.createClient({
    baseUrl: login.homeserver,
    userId: login.user_id,
    deviceId: login.device_id,
    accessToken: login.access_token,
});
// Synapse repeats an answer for two minutes to whoever asks the same again: this filter
// lets through what the sdk's own does, and nobody has asked with it before.
const filter = sdk.Filter.fromJson(login.user_id, undefined, {
    account_data: { not_types: [randomUUID()] },
    room: { timeline: { limit: 8 } },
});
const began = performance.now();
await new Promise((resolve, reject) => {
    client.on(sdk.ClientEvent.Sync, (state, _previous, data) => {
        if (state === "PREPARED") resolve();
        if (state === "ERROR") reject(data.error);
    });
    client.startClient({ filter }).catch(reject);
});
const seconds = (performance.now() - began) / 1000;
console.log(JSON.stringify({ seconds, rooms: client.getRooms().length }));
process.exit();
