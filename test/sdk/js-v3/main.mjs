// Calls GetCallerIdentity every second, and prints the outcome, a line for each call.
import { setTimeout } from "node:timers/promises";
import { GetCallerIdentityCommand, STSClient } from "@aws-sdk/client-sts";

const client = new STSClient();
for (;;) {
	try {
		console.log("ok", (await client.send(new GetCallerIdentityCommand())).Arn);
	} catch (error) {
		console.log("failed", String(error));
	}
	await setTimeout(1000);
}
