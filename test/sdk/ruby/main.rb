# Calls GetCallerIdentity every second, and prints the outcome, a line for each call.
require "aws-sdk-core"

$stdout.sync = true
client = Aws::STS::Client.new
loop do
  begin
    puts "ok #{client.get_caller_identity.arn}"
  rescue StandardError => error
    puts "failed #{error.inspect}"
  end
  sleep 1
end
